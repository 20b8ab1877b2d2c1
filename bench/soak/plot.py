"""The plot: a panel for each instance, its anonymous memory over the run."""

COLUMNS, WIDTH, HEIGHT = 3, 330.0, 120.0
LEFT, TOP, WIDE, HIGH = 36.0, 22.0, 270.0, 62.0


def plot(record, caption):
    """An SVG; the thin line is under load, dots are what is left when nobody is there."""
    names = list(record.courses)
    rows = -(-len(names) // COLUMNS)
    wide, high = WIDTH * COLUMNS + 20, HEIGHT * rows + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for at, name in enumerate(names):
        x, y = at % COLUMNS * WIDTH + 10, at // COLUMNS * HEIGHT + 8
        parts += panel(name, record.courses[name], record.hours, x, y)
    parts.append(f'<text x="10" y="{high - 12:.0f}" font-size="10" fill="#666666">{caption}</text>\n</svg>')
    return "\n".join(parts) + "\n"


def panel(name, course, hours, x, y):
    loaded = thinned(course.loaded)
    top = max(value for _, value in loaded + course.quiet) * 1.1
    at = lambda point: (x + LEFT + point[0] / hours * WIDE, y + TOP + HIGH - point[1] / top * HIGH)
    idle = course.idle[-1] or {}
    under = f"descriptors {idle.get('descriptors')} to {course.most['descriptors']}, threads {idle.get('threads')} to {course.most['threads']}"
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in map(at, loaded))
    parts = [
        f'<text x="{x}" y="{y + 12}" font-weight="bold">{name}</text>',
        f'<text x="{x + LEFT + WIDE}" y="{y + 12}" text-anchor="end" font-size="9" fill="#666666">{under}</text>',
        f'<line x1="{x + LEFT}" x2="{x + LEFT + WIDE}" y1="{y + TOP + HIGH}" y2="{y + TOP + HIGH}" stroke="#d6d3d1"/>',
        f'<text x="{x + LEFT - 4}" y="{y + TOP + HIGH}" text-anchor="end" font-size="9">0</text>',
        f'<text x="{x + LEFT - 4}" y="{y + TOP + 8}" text-anchor="end" font-size="9">{top:.1f}</text>',
        f'<polyline points="{line}" fill="none" stroke="#a8a29e" stroke-width="0.8"/>',
    ]
    for point in course.quiet:
        px, py = at(point)
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="1.8" fill="#c2410c"/>')
    return parts


def thinned(points, most=150):
    """The largest of each few."""
    step = -(-len(points) // most) or 1
    return [max(points[at : at + step], key=lambda point: point[1]) for at in range(0, len(points), step)]
