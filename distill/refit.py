"""Train the chosen models of a study with `final: refit` again, on train, val and test, for the images to predict.

Recipes, epochs, regularisation, temperatures and weights stay as they were chosen. The submissions then come from these
models; all numbers of the report stay those of the models before.
"""

from collections.abc import Sequence

from decant.errors import UserError
from decant.stages.support.chain import require_images_to_predict
from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.resolve import stage_result


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser(__doc__, "python distill/refit.py --study cars_body --set final=refit").parse_args(arguments)
    experiment = experiment_of(given)
    if experiment.study.final != "refit":
        raise UserError(f"the study {experiment.study.name} has final: {experiment.study.final}; set final: refit")
    require_images_to_predict(experiment)
    print(f"refitted ensemble: {stage_result(experiment, 'refit_ensemble').folder}")
    print(f"refitted student: {stage_result(experiment, 'refit_student').folder}")
    stage_result(experiment, "refit_predictions/student")


if __name__ == "__main__":
    run(main)
