"""chart: the ratios of a run as a picture: a bar a row, the peer is 1, the target a tick."""

NAMES = {"cpu_us_op": "CPU per operation", "total_us_op": "CPU with all that is put off",
         "p99_us": "p99 at half of the peak",
         "bytes_key": "resident bytes", "hit_ratio": "hit ratio"}
ROW_PX, LEFT_PX, SCALE_PX, TOP_PX, RATIO_MAX = 22, 250, 300, 60, 1.6


def shape(kind, text="", **attributes):
    """An element; _ in a name stands for -."""
    inner = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f"<{kind}{inner}>{text}</{kind}>"


def is_good(metric, ratio, target):
    if target is None:
        return None
    return ratio >= target if metric == "hit_ratio" else ratio <= target


def draw_bar(index, row):
    name, peer, metric, ratio, target = row
    top = TOP_PX + index * ROW_PX
    color = {True: "#2a7f62", False: "#b5462f", None: "#7f8c8d"}[is_good(metric, ratio, target)]
    width = min(ratio, RATIO_MAX) * SCALE_PX
    parts = [
        shape("text", f"{name} / {peer}", x=LEFT_PX - 8, y=top + 14, text_anchor="end"),
        shape("rect", x=LEFT_PX, y=top + 3, width=f"{width:.1f}", height=ROW_PX - 6, fill=color),
        shape("text", f"{ratio:.2f}  {NAMES[metric]}", x=f"{LEFT_PX + width + 10:.1f}", y=top + 14),
    ]
    if target is not None:
        at = f"{LEFT_PX + target * SCALE_PX:.1f}"
        parts.append(shape("line", x1=at, x2=at, y1=top, y2=top + ROW_PX, stroke="#222",
                           stroke_width=3))
    return "\n".join(parts)


def draw(summary, path):
    """summary: (row, peer, metric, ratio, target or None), one bar each."""
    height = TOP_PX + len(summary) * ROW_PX + 20
    one = LEFT_PX + SCALE_PX
    body = [
        shape("rect", width="100%", height="100%", fill="#fff"),
        shape("text", "cartd / peer, medians of ratios; shorter is better but for hits",
              x=12, y=22, font_size=15),
        shape("text", "green: target met, red: not, grey: no target; thick tick: the target",
              x=12, y=42),
        shape("line", x1=one, x2=one, y1=TOP_PX - 6, y2=height - 14, stroke="#999",
              stroke_dasharray="4 3"),
        *(draw_bar(index, row) for index, row in enumerate(summary)),
    ]
    path.write_text(shape("svg", "\n" + "\n".join(body) + "\n",
                          xmlns="http://www.w3.org/2000/svg", width=LEFT_PX + 720, height=height,
                          font_family="sans-serif", font_size=12) + "\n")
