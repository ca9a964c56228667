"""Review a study: teachers compared, ensemble, student beside its twin, accuracy against time.

Writes runs/<study>/review.html, and prints the commands that show the offline runs and send them to W&B. With --wandb
online it also writes a report in the study's W&B project.
"""

from collections.abc import Sequence

from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.review import reviewed_results, save_report, sync_commands, write_review


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(
        __doc__,
        "python research/wandb_report.py --study demo\n  python research/wandb_report.py --study demo --wandb online",
    )
    given = options.parse_args(arguments)
    experiment = experiment_of(given)
    results = reviewed_results(experiment)
    print(f"review: {write_review(experiment, results)}")
    if given.wandb == "online" and (address := save_report(experiment, results)):
        print(f"report: {address}")
        return
    for sentence, command in sync_commands(experiment):
        print(f"{sentence}\n  {command}")


if __name__ == "__main__":
    run(main)
