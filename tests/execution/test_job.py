"""What is said of errors that jobs raise."""

from thrifty.execution.inline import InlineExecutor
from thrifty.execution.job import Ended, Job, one_line
from thrifty.execution.words import plain_line
from thrifty.testing.executors import collect


class WordlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("there are no words")


def wordless(arguments, channel):
    raise WordlessError


def test_an_error_whose_text_cannot_be_made_fails_its_job_with_its_name_and_line():
    with InlineExecutor(1) as executor:
        executor.submit(Job(function=wordless))
        ended = next(event for event in collect(executor) if isinstance(event, Ended))
    assert ended.outcome == "failed"
    assert ended.why.startswith("WordlessError: its text cannot be made (test_job.py:")


def test_what_a_terminal_would_obey_is_left_out():
    assert (
        one_line(ValueError("a \x1b[31mred\x1b[0m é\n\x1b]0;title\x07b\x1bc\x00\x9b\ud800 \u202ec"))
        == "ValueError: a red é b c"
    )
    assert plain_line("  two\tlines\r\n ") == "two lines"
    assert plain_line("日本語 👩\u200d🔬 ok") == "日本語 👩\u200d🔬 ok"
