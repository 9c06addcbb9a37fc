# SPDX-License-Identifier: GPL-2.0-only
"""Draws what an I/O costs: instructions of the initiator, in the kernel, by component.

Normally: draw() writes chart.svg, with gnuplot. iSER is drawn as it is on the simulated adapter,
whose own work is left out, as with a real one; iSCSI over TCP with its TCP stack.
Recovery: what was not measured is not drawn; without any figure there is no chart.
"""

from goals import OURS, STOCK, TCP
from iserlab import host

DRAWN = ((OURS, "simhca"), (STOCK, "simhca"), (TCP, "wire"))
# side by side, each with a scale of its own
WORKLOADS = (("4k randread qd32", "4k randwrite qd32"),
             ("128k randread qd8", "128k randwrite qd8"))
LABELS = {OURS: "ours", STOCK: "kernel's", TCP: "TCP"}
# from the bottom to the top; the rest goes with the last
COMPONENTS = {"block": "#4e79a7", "SCSI": "#76b7b2", "libiscsi": "#59a14f", "ib_iser": "#e15759",
              "iscsi_tcp": "#b07aa1", "network": "#f28e2b", "copying": "#edc948",
              "other": "#bab0ac"}
LICENSE = "<!-- SPDX-License-Identifier: GPL-2.0-only -->"
SCRIPT = """
set terminal svg size 1000,460 font "sans,12" background "#ffffff" noenhanced
set output "{output}"
set multiplot layout 1,{panels} \\
    title "What an I/O costs the initiator's kernel: instructions, without the adapter's work"
set style data histogram
set style histogram rowstacked gap 1 title offset 0,-1
set style fill solid border -1
set boxwidth 0.8
set bmargin 8
set key at screen 0.5,0.02 center bottom horizontal maxrows 1 samplen 1 width 1
set grid ytics
set yrange [0:*]
set xtics nomirror font ",11"
{data}
{plots}
unset multiplot
"""


def shares(result):
    """Components that are drawn, in their order."""
    found = dict.fromkeys(COMPONENTS, 0)
    for name, count in result["components"].items():
        if name != "programs":
            found[name if name in found else "other"] += count
    return found


def draw(results, directory):
    """Write the chart; returns its path, or None."""
    data, panels = [], []
    for workloads in WORKLOADS:
        plots = []
        for workload in workloads:
            rows = [(transport, shares(each)) for transport, device in DRAWN for each in results
                    if (each["transport"], each["device"], each["workload"]) ==
                    (transport, device, workload)]
            if rows:
                data.append(_block(f"$D{len(data)}", rows))
                plots.append(_plot(f"$D{len(data) - 1}", workload, first=not plots))
        if plots:
            panels.append("plot " + ", \\\n ".join(plots))
    if not panels:
        return None
    path = directory / "chart.svg"
    script = directory / "chart.gnuplot"
    script.write_text(SCRIPT.format(output=path, data="\n".join(data), panels=len(panels),
                                    plots="\n".join(panels)), encoding="utf-8")
    host.run("gnuplot", script, what="drawing the chart")
    # so that it can be put into Documentation/ as it is
    first, rest = path.read_text(encoding="utf-8").split("\n", 1)
    path.write_text(f"{first}\n{LICENSE}\n{rest}", encoding="utf-8")
    return path


def _block(name, rows):
    lines = [" ".join([f'"{LABELS[transport]}"', *(f"{count:.0f}" for count in found.values())])
             for transport, found in rows]
    return "\n".join([f"{name} << EOD", *lines, "EOD"])


def _plot(block, workload, first):
    title = [f'newhistogram "{workload}"']
    return ", ".join(title + [
        f"{block} using {number}{':xtic(1)' if number == 2 else ''} "
        f'linecolor rgb "{color}" ' + (f'title "{name}"' if first else "notitle")
        for number, (name, color) in enumerate(COMPONENTS.items(), 2)])
