"""Draws the panels of a dashboard as an SVG: lines over time, with a legend of the last values."""

from html import escape

COLUMNS = 2
WIDTH, HEIGHT = 560, 240
# Around the lines of a panel; the legend is on the right.
LEFT, RIGHT, TOP, BOTTOM = 58, 190, 34, 22
LINES_MAX = 12
COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b",
           "#e377c2", "#7f7f7f", "#bcbd22", "#17becf", "#3b5b92", "#c49c94"]


def shown(value, unit):
    """A value with its unit."""
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit in ("bytes", "Bps"):
        for name in ["B", "KiB", "MiB", "GiB"]:
            if abs(value) < 1024 or name == "GiB":
                return f"{value:.3g} {name}{'/s' if unit == 'Bps' else ''}"
            value /= 1024
    text = f"{value:.0f}" if value == int(value) else f"{value:.3g}"
    return f"{text}/s" if unit == "reqps" else text


def draw_panel(title, unit, series, x, y):
    """One panel with its upper left corner at (x, y)."""
    parts = [f'<g transform="translate({x},{y})">',
             f'<rect width="{WIDTH - 8}" height="{HEIGHT - 8}" fill="#fff" stroke="#ccc"/>',
             f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>']
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM - 8
    points = [point for _, line in series for point in line]
    if points:
        first, last = min(at for at, _ in points), max(at for at, _ in points)
        low, high = min(0, *(value for _, value in points)), max(value for _, value in points)
        high = high if high > low else low + 1
        for share in (0, 0.5, 1):
            level = bottom - share * (bottom - TOP)
            value = shown(low + share * (high - low), unit)
            parts.append(f'<path d="M{LEFT} {level:.0f}H{right}" stroke="#eee"/>')
            parts.append(f'<text x="{LEFT - 4}" y="{level + 4:.0f}" text-anchor="end" fill="#666">{value}</text>')
        series = sorted(series, key=lambda line: -max(value for _, value in line[1]))
        for number, (name, line) in enumerate(series[:LINES_MAX]):
            colour = COLOURS[number]
            place = [f"{LEFT + (at - first) / max(last - first, 1) * (right - LEFT):.0f} "
                     f"{bottom - (value - low) / (high - low) * (bottom - TOP):.0f}" for at, value in line]
            parts.append(f'<polyline points="{", ".join(place)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            row = TOP + 6 + number * 15
            name = name if len(name) <= 20 else name[:19] + "…"
            parts.append(f'<text x="{right + 10}" y="{row}" fill="{colour}">{escape(name)}: '
                         f"{shown(line[-1][1], unit)}</text>")
        if len(series) > LINES_MAX:
            parts.append(f'<text x="{right + 10}" y="{TOP + 6 + LINES_MAX * 15}" fill="#666">'
                         f"and {len(series) - LINES_MAX} more</text>")
        parts.append(f'<text x="{LEFT}" y="{HEIGHT - 14}" fill="#666">{last - first:.0f} s</text>')
    parts.append("</g>")
    return parts


def draw(title, panels):
    """The picture of a dashboard; a panel is a title, a unit, and named series of points."""
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * WIDTH + 8, rows * HEIGHT + 44
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'font-family="sans-serif" font-size="11">',
             f'<rect width="{width}" height="{height}" fill="#f4f5f5"/>',
             f'<text x="8" y="26" font-size="18">{escape(title)}</text>']
    for number, (name, unit, series) in enumerate(panels):
        parts += draw_panel(name, unit, series, 8 + number % COLUMNS * WIDTH, 40 + number // COLUMNS * HEIGHT)
    return "\n".join([*parts, "</svg>"]) + "\n"
