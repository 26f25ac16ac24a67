"""Parts of a run of `compress`: what tells it from others, its expected work, its last measurement, its delivery."""

from netsurgeon.pipeline.run.calibrating import run_calibration, run_executor
from netsurgeon.pipeline.run.delivery import Compression, deliver, is_as_it_came, store_model
from netsurgeon.pipeline.run.examination import examine_answers, judging_of
from netsurgeon.pipeline.run.expected_work import ExpectedWork, seconds_of_an_input
from netsurgeon.pipeline.run.final_validation import validate_applied
from netsurgeon.pipeline.run.identity import open_run_folder

__all__ = [
    "Compression",
    "ExpectedWork",
    "deliver",
    "examine_answers",
    "is_as_it_came",
    "judging_of",
    "open_run_folder",
    "run_calibration",
    "run_executor",
    "seconds_of_an_input",
    "store_model",
    "validate_applied",
]
