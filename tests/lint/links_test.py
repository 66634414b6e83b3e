"""Every relative link of every page leads somewhere, and every script parses."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lint  # noqa: E402

root = os.environ.get("WEIR_SOURCE_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
failures = []
for path in sorted(lint.Lint(root).files()):
    full = os.path.join(root, path)
    if path.endswith(".md"):
        with open(full, encoding="utf-8") as file:
            text = re.sub(r"```.*?```|`[^`\n]*`", "", file.read(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"", text):
            target = (target[0] or target[1]).split("#")[0]
            if target and not re.match(r"[a-z]+:", target) and not os.path.exists(os.path.join(os.path.dirname(full), target)):
                failures.append(f"{path}: the link {target} leads nowhere")
    if path.endswith(".sh") or path == ".ci/run":
        done = subprocess.run(["bash", "-n", full], capture_output=True, text=True, check=False)
        if done.returncode:
            failures.append(f"{path}: {done.stderr.strip()}")
for failure in failures:
    print(failure)
sys.exit(1 if failures else 0)
