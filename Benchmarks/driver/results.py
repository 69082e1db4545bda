"""The figures, and the table that they make."""

import json
import statistics


class Results:
    def __init__(self):
        self.rows = []

    def add(self, database, what, runs, limits=None, limit_name=None, target=None):
        """Rates of all rounds, beside those of what bounds them. The best counts: noise only takes away."""
        best = max(runs, key=lambda run: run["rate"])
        row = {
            "database": database, "what": what, "unit": "/s", "value": best["rate"],
            "spread": [min(run["rate"] for run in runs), best["rate"]], "runs": runs}
        for name in ("p50", "p99", "cpu_us"):
            if name in best:
                row[name] = best[name]
        refused = sum(run.get("refused", 0) + run.get("broken", 0) for run in runs)
        if refused:
            row["errors"] = refused
        if limits:
            bound = max(limit["rate"] for limit in limits)
            row.update(
                limit=bound, limit_name=limit_name, limits=limits, ratio=best["rate"] / bound,
                limit_spread=[min(limit["rate"] for limit in limits), bound])
        if target is not None:
            row["target"] = target
            row["reached"] = row.get("ratio", best["rate"]) >= target and not refused
        self.rows.append(row)
        return row

    def add_single(self, database, what, unit, values, at_most=None):
        """Something of which less is better, measured some times."""
        row = {
            "database": database, "what": what, "unit": unit, "value": min(values),
            "spread": [min(values), max(values)], "median": statistics.median(values)}
        if at_most is not None:
            row.update(target=at_most, reached=min(values) <= at_most)
        self.rows.append(row)
        return row

    def add_delays(self, database, what, delays, missing):
        """Milliseconds of single events, sorted; the figure is the median."""
        def quantile(part):
            return delays[min(int(len(delays) * part), len(delays) - 1)]

        row = {
            "database": database, "what": what, "unit": "ms", "value": quantile(0.5), "spread": [delays[0], delays[-1]],
            "p50": quantile(0.5), "p99": quantile(0.99), "count": len(delays)}
        if missing:
            row["errors"] = missing
        self.rows.append(row)
        return row

    def table(self):
        lines = [
            "| database | what | figure | spread | p50 ms | p99 ms | CPU µs | beside it | ratio | target | |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
        for row in self.rows:
            is_rate = row["unit"] == "/s"
            cells = [
                row["database"], row["what"], number(row["value"]) + (" " if not is_rate else "") + row["unit"],
                "–".join(number(value) for value in row["spread"])]
            cells += [number(row[name]) if name in row else "" for name in ("p50", "p99", "cpu_us")]
            cells.append(
                "%s: %s/s (%s)" % (row["limit_name"], number(row["limit"]), "–".join(number(v) for v in row["limit_spread"]))
                if "limit" in row else "")
            cells.append("%.2f" % row["ratio"] if "ratio" in row else "")
            cells.append(("≥ " if is_rate else "≤ ") + number(row["target"]) if "target" in row else "")
            note = {True: "reached", False: "**below**"}.get(row.get("reached"), "")
            if "errors" in row:
                note += " %d errors" % row["errors"]
            cells.append(note)
            lines.append("| %s |" % " | ".join(cells))
        return "\n".join(lines)

    def write(self, path, about):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**about, "results": self.rows}, indent=1) + "\n")


def number(value):
    if value >= 100:
        return "{:,.0f}".format(value)
    return "%.1f" % value if value >= 10 else "%.2f" % value
