"""The systemd unit is understood whole by systemd, and exposes next to nothing."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

root = os.environ["WEIR_SOURCE_DIR"]
if not shutil.which("systemd-analyze"):
    print("no systemd-analyze here")
    sys.exit(77)

with open(os.path.join(root, "deploy/systemd/weir.service"), encoding="utf-8") as file:
    unit = file.read()
failures = []


def analyze(text, *arguments):
    """What systemd-analyze says about the unit, with a program that exists in the place of /usr/bin/weir."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weir.service")
        with open(path, "w", encoding="utf-8") as out:
            out.write(re.sub(r"/usr/bin/weir\b|/bin/kill\b", "/bin/true", text))
        done = subprocess.run(["systemd-analyze", *arguments, path], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


# `verify` only warns about a key that it does not know, with status 0: any output is a failure.
status, output = analyze(unit, "verify")
if status or output.strip():
    failures.append(f"systemd-analyze verify: status {status}\n{output}")
_, output = analyze(unit.replace("WatchdogSec=", "WatchdogSecs="), "verify")
if not output.strip():
    failures.append("systemd-analyze verify does not notice an unknown key here: this test would prove nothing")

status, output = analyze(unit, "security", "--offline=true", "--threshold=20")
if status:
    failures.append(f"systemd-analyze security: {output.strip().splitlines()[-1:]}")
print(*output.strip().splitlines()[-1:])

for line in ["Type=notify", "NotifyAccess=main", "WatchdogSec=30", "DynamicUser=yes", "CapabilityBoundingSet=",
             "ExecStart=/usr/bin/weir run -c /etc/weir/weir.yaml", "ExecReload=/bin/kill -HUP $MAINPID", "RuntimeDirectory=weir"]:
    if line not in unit.splitlines():
        failures.append(f"the unit lacks: {line}")
before = re.search(r"^ExecStartPre=(\S+ validate) (\S+)$", unit, re.MULTILINE)
if not before or before.group(2) not in re.search(r"^ExecStart=.*$", unit, re.MULTILINE).group(0):
    failures.append("ExecStartPre does not validate the file that ExecStart runs")
for failure in failures:
    print(failure)
sys.exit(1 if failures else 0)
