# SPDX-License-Identifier: GPL-2.0-only
"""Tables for the terminal.

Normally: columns() puts cells under each other. Recovery: none is needed.
"""


def columns(rows, figures=False):
    """Lines in which the cells of rows stand under each other.

    @figures: all cells but the first of a row are, and end under each other
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.rjust(width) if figures and number else cell.ljust(width)
                      for number, (cell, width) in enumerate(zip(row, widths))).rstrip()
            for row in rows]
