#!/usr/bin/env python3
"""perf/chart.py: the pictures and tables of perf/README.md, made from the measured figures in perf/figures/*.json.

compare.json, as perf/compare writes it, becomes speed.svg: small panels of bars, one for each scenario, each on its own scale from zero.
metastable.json, as perf/metastable writes it, becomes metastable.svg: one row for each contender, second by second.
resilience.json, as perf/resilience writes it, becomes a table only; so do protocols.json, of perf/compare --protocols, and handshakes.json.
The tables go into perf/README.md, between `<!-- compare.json -->` (and so on) and `<!-- end -->`.
The pictures have no background and use middle tones only, so that they can be read on a light page and on a dark one.

usage: perf/chart.py [DIRECTORY]     of the figures and the pictures; perf/figures when none is given, and then the tables, too
"""
import json, os, re, sys
from xml.sax.saxutils import escape

TEXT, FAINT, WEIR = "#757f8a", "#8c959f", "#2f81f7"
PEERS = {"haproxy": "#8593a6", "nginx": "#a3a08d", "nghttpx": "#b59f91"}
LOSS = "#d4855c"
FONT = "font-family='-apple-system, Segoe UI, Helvetica, Arial, DejaVu Sans, sans-serif'"


class Picture:
    def __init__(self, width, height, title):
        self.parts = [f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' {FONT} "
                      f"role='img'><title>{escape(title)}</title>"]

    def text(self, x, y, what, size=12, color=TEXT, anchor="start", bold=False):
        weight = " font-weight='600'" if bold else ""
        self.parts.append(f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{color}' text-anchor='{anchor}'{weight}>{escape(what)}</text>")

    def box(self, x, y, width, height, color, opacity=1.0):
        shade = f" fill-opacity='{opacity}'" if opacity < 1 else ""
        self.parts.append(f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}' fill='{color}'{shade}/>")

    def line(self, x1, y1, x2, y2, color, width=1.0, dashes=""):
        dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
        self.parts.append(f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{color}' stroke-width='{width}'{dashed}/>")

    def area(self, points, floor, color):
        line = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f"<path d='{line} L{points[-1][0]:.1f} {floor:.1f} L{points[0][0]:.1f} {floor:.1f} Z' fill='{color}' "
                          f"fill-opacity='0.35'/><path d='{line}' fill='none' stroke='{color}' stroke-width='1.5' stroke-linejoin='round'/>")

    def write(self, path):
        with open(path, "w") as f:
            f.write("\n".join(self.parts + ["</svg>\n"]))
        print("written:", path)


def number(value):
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def speed(report, path):
    """Bars of CPU time, with the relay's as a dashed line: the floor of any proxy that copies."""
    columns, wide, high, left, top = 3, 270, 168, 14, 62
    names = list(report["scenarios"])
    rows = (len(names) + columns - 1) // columns
    picture = Picture(left * 2 + columns * wide, top + rows * high + 6, "CPU time per request of weir and its peers")
    picture.text(left, 20, "CPU microseconds per request", 15, bold=True)
    picture.text(left + columns * wide, 20, "less is better; each panel has its own scale, from 0", 12, FAINT, "end")
    x = left
    for name, color in [*PEERS.items(), ("weir", WEIR)]:
        picture.box(x, 33, 12, 12, color)
        picture.text(x + 18, 44, name, 12, WEIR if name == "weir" else TEXT, bold=name == "weir")
        x += 88
    picture.line(x, 39.5, x + 22, 39.5, TEXT, 1.5, "4 3")
    picture.text(x + 28, 44, "a relay that only copies bytes", 12)
    for index, name in enumerate(names):
        medians = report["scenarios"][name]["median"]
        x, y = left + index % columns * wide, top + index // columns * high
        base, room = y + high - 16, high - 62
        picture.text(x, y + 16, name, 13, bold=True)
        picture.text(x + 220, y + 16, f"relay {number(medians['relay'])}", 11, FAINT, "end")
        scale = room / max(medians.values())
        floor = base - medians["relay"] * scale
        for i, (proxy, color) in enumerate([*PEERS.items(), ("weir", WEIR)]):
            if proxy not in medians:
                continue
            at, height = x + i * 58, medians[proxy] * scale
            picture.box(at, base - height, 46, height, color)
            own = proxy == "weir"
            label = base - height - 5
            if label - 11 < floor < label + 2:
                label = floor - 5  # above the dashes, not under them
            picture.text(at + 23, label, number(medians[proxy]), 12, WEIR if own else TEXT, "middle", own)
        picture.line(x, base, x + 220, base, FAINT)
        picture.line(x - 4, floor, x + 224, floor, TEXT, 1.5, "4 3")
    picture.write(path)


def metastable(report, path):
    """A row for each contender: the share of the requests of each second that was answered in time."""
    left, wide, high, top, right = 296, 372, 46, 74, 192
    before, loss = report["before"], report["loss"]
    total = before + loss + report["after"]
    contenders = list(report["contenders"].items())
    bottom = top + high * len(contenders)
    picture = Picture(left + wide + right, bottom + 40, "Requests answered in time while and after an upstream loses 80 % of its capacity")
    picture.text(14, 20, "Requests answered in time, of those offered in each second", 15, bold=True)
    picture.text(14, 40, f"{report['rate']}/s to an upstream that can do 200/s and for {loss} s only 40/s; it works off what callers gave up", 12, FAINT)

    def at(second):
        return left + wide * second / total

    picture.box(at(before), top - 12, at(before + loss) - at(before), bottom - top + 12, LOSS, 0.16)
    picture.text((at(before) + at(before + loss)) / 2, top - 17, "80 % lost", 11, LOSS, "middle", True)
    picture.text(left + wide + 14, top - 17, "in the loss", 11, FAINT)
    picture.text(left + wide + 96, top - 17, "from 5 s after", 11, FAINT)
    for index, (name, run) in enumerate(contenders):
        own = name.startswith("weir")
        color = WEIR if own else TEXT
        base = top + index * high + high - 8
        room = high - 16
        points = []
        for second in range(total):
            y = base - room * min(1, run["good"][second] / max(1, run["offered"][second]))
            points += [(at(second), y), (at(second + 1), y)]
        picture.area(points, base, WEIR if own else FAINT)
        picture.line(left, base, left + wide, base, FAINT, 0.75)
        picture.text(left - 12, base - room / 2 + 5, run["what"], 12, color, "end", own)
        for x, share in ((14, run["summary"]["during"]), (96, run["summary"]["after_6_on"])):
            picture.text(left + wide + x, base - room / 2 + 5, f"{share * 100:.0f} %", 13, color, "start", own)
    for second in range(0, total + 1, 2):
        big = (second - before) % 10 == 0
        picture.line(at(second), bottom, at(second), bottom + (6 if big else 3), FAINT)
        if big:
            picture.text(at(second), bottom + 20, f"{second - before} s", 11, TEXT, "middle")
    picture.text(left - 12, bottom + 20, "since the loss began", 11, FAINT, "end")
    picture.write(path)


def compare_table(report):
    relay = all(row["ratio_to_relay"] is not None for row in report["scenarios"].values())
    columns = (["relay"] if relay else []) + list(PEERS)
    lines = [f"{report['date']}, kernel {report['kernel']}, {report['rounds']} rounds of {report['seconds']} s. CPU microseconds a request, medians; "
             "\"ratio\" is weir / best peer: below 1 weir is cheaper.", "",
             "| scenario | " + " | ".join(columns) + " | weir | best peer | ratio | interval |" + (" weir / relay |" if relay else ""),
             "|" + "---|" * (5 + len(columns) + relay)]
    for name, row in report["scenarios"].items():
        median = row["median"]
        lines.append(f"| {name} | " + " | ".join(f"{median[p]:.1f}" for p in columns) + f" | **{median['weir']:.1f}** | "
                     f"{row['best_peer']} | **{row['ratio']:.2f}** | {row['interval'][0]:.2f} to {row['interval'][1]:.2f} |"
                     + (f" {row['ratio_to_relay']:.2f} |" if relay else ""))
    return lines


def handshakes_table(report):
    peers = list(PEERS)
    lines = [f"{report['date']}, kernel {report['kernel']}, {report['rounds']} rounds of {report['seconds']} s. Handshakes for each CPU second of the "
             f"proxy, medians; \"ratio\" is weir / best peer: above 1 weir is cheaper. Memory by {report['connections']} connections.", "",
             "| what | " + " | ".join(peers) + " | weir | best peer | ratio | interval |", "|" + "---|" * (5 + len(peers))]
    for kind, row in report["kinds"].items():
        median = row["median"]
        lines.append(f"| {kind} | " + " | ".join(f"{median[p]:.0f}" for p in peers) + f" | **{median['weir']:.0f}** | {row['best_peer']} | "
                     f"**{row['ratio']:.2f}** | {row['interval'][0]:.2f} to {row['interval'][1]:.2f} |")
    memory = report["idle_bytes"]
    best = min(peers, key=memory.get)
    lines.append("| idle connection, KiB | " + " | ".join(f"{memory[p] / 1024:.1f}" for p in peers) + f" | **{memory['weir'] / 1024:.1f}** | {best} | "
                 f"**{memory['weir'] / memory[best]:.2f}** | |")
    return lines


def metastable_table(report):
    lines = [f"{report['date']}, kernel {report['kernel']}, seed {report['seed']}; load late by at most "
             f"{max(run['late_p99'] for run in report['contenders'].values()) * 1000:.0f} ms for 99 requests in 100.", "",
             "| contender | before | in the loss | after it, seconds 1-5 | from second 6 | worst second from 6 | well for good from second | "
             "tries in the loss | tries after |", "|" + "---|" * 9]
    for name, run in report["contenders"].items():
        s = run["summary"]
        bold = "**" if name.startswith("weir") else ""
        lines.append(f"| {bold}{run['what']}{bold} | {s['before']:.0%} | {bold}{s['during']:.0%}{bold} | {s['after_1_5']:.0%} | "
                     f"{bold}{s['after_6_on']:.0%}{bold} | {s['worst_second_from_6']:.0%} | {s['well_from_second'] or 'never'} | "
                     f"{s['tries_during']:.2f} | {s['tries_after']:.2f} |")
    return lines


def resilience_table(report):
    late = max(run["late_p99"] for runs in report["cases"].values() for run in runs.values())
    lines = [f"{report['date']}, kernel {report['kernel']}, seed {report['seed']}, {report['seconds']} s each, on a machine with a load of "
             f"{report['load']:.0f}; the load late by at most {late * 1000:.0f} ms for 99 requests in 100.", ""]
    names = {"slow": "slow", "failing": "503"}
    cases = list(report["cases"])
    lines.append("| contender | " + " | ".join(f"{names[case]}: {what}" for case in cases for what in ("p50", "p99", "errors", "to the bad one")) + " |")
    lines.append("|" + "---|" * (1 + 4 * len(cases)))
    for name in report["cases"][cases[0]]:
        runs = [report["cases"][case][name] for case in cases]
        bold = "**" if name.startswith("weir") else ""
        cells = [f"{run['p50'] * 1000:.0f} ms | {run['p99'] * 1000:.0f} ms | {run['errors']:.1%} | {bold}{run['to_bad']:.1%}{bold}" for run in runs]
        lines.append(f"| {bold}{runs[0]['what']}{bold} | " + " | ".join(cells) + " |")
    return lines


def fill(page, marker, lines):
    with open(page) as f:
        text = f.read()
    new, count = re.subn(rf"(<!-- {re.escape(marker)} -->\n).*?(<!-- end -->)", lambda m: m[1] + "\n".join(lines) + "\n" + m[2], text, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"perf/chart.py: {page} has no place for {marker}, or several")
    with open(page, "w") as f:
        f.write(new)
    print("written:", page)


def main():
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) == 2 else os.path.join(here, "figures")
    for name, draw, picture, table in (("compare.json", speed, "speed.svg", compare_table),
                                       ("metastable.json", metastable, "metastable.svg", metastable_table),
                                       ("protocols.json", None, None, compare_table),
                                       ("handshakes.json", None, None, handshakes_table),
                                       ("resilience.json", None, None, resilience_table)):
        try:
            with open(os.path.join(folder, name)) as f:
                report = json.load(f)
        except FileNotFoundError:
            print(f"perf/chart.py: there is no {os.path.join(folder, name)}", file=sys.stderr)
            continue
        if draw is not None:
            draw(report, os.path.join(folder, picture))
        if len(sys.argv) == 1:
            fill(os.path.join(here, "README.md"), name, table(report))


if __name__ == "__main__":
    main()
