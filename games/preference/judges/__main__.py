"""Trains a judge on comparisons: `python -m games.preference.judges comparisons.jsonl FOLDER`; see `learned`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from games.preference.judges.comparisons import read_comparisons
from games.preference.judges.learned import LearnedJudge, measure_cycles, save_heads, train_heads
from games.preference.judges.text_scores import check


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0, or 2 for invalid input."""
    try:
        if len(arguments) != 2:
            raise ValueError("name a file and a folder: python -m games.preference.judges comparisons.jsonl FOLDER")
        check(["relevance"])
        comparisons, folder = read_comparisons(Path(arguments[0])), Path(arguments[1])
        heads, report = train_heads(comparisons)
        save_heads(folder, heads, report)
        report["cycles/pairwise"] = measure_cycles(LearnedJudge(str(folder)), comparisons)
        save_heads(folder, heads, report)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for name, number in report.items():
        print(f"{name:24} {number:.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
