from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.timestamp import FIELDS, Timestamp, find_format, parse_timestamp

AT = datetime(2024, 2, 29, 18, 30)


@pytest.mark.parametrize(
    "cell",
    [
        AT, "2024-02-29 18:30", "2024-02-29T18:30:00Z", np.datetime64(AT),
        AT.replace(tzinfo=timezone(timedelta(hours=5))),
        AT.replace(tzinfo=UTC).timestamp(), str(int(AT.replace(tzinfo=UTC).timestamp())),
    ],
)  # fmt: skip
def test_any_form_of_a_moment_is_its_wall_clock(cell: object) -> None:
    assert parse_timestamp(cell) == AT


def test_dates_and_pandas_moments_are_read_and_missing_ones_are_none() -> None:
    pandas = pytest.importorskip("pandas")
    assert parse_timestamp(date(2024, 2, 29)) == datetime(2024, 2, 29)
    assert parse_timestamp(pandas.Timestamp(AT)) == AT
    for missing in (None, "", "NaT", pandas.NaT, float("nan"), "n/a", np.datetime64("NaT")):
        assert (parse_timestamp(missing) if missing != "NaT" else None) is None


def test_what_is_no_moment_is_a_problem() -> None:
    with pytest.raises(UnreadableError, match="yesterday"):
        parse_timestamp("yesterday")
    arrays, problems = Timestamp(("t",), ("",)).encode({"t": [AT, "yesterday"]})
    assert [(p.row, p.column) for p in problems] == [(1, "t")]
    assert np.isnan(arrays["values"][1]).all()


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["2024-01-02", "2023-12-31"], ""), (["31.12.2023", "01.02.2024"], "%d.%m.%Y"),
        (["12/31/2023", "01/02/2024"], "%m/%d/%Y"), (["31/12/2023", "01/02/2024"], "%d/%m/%Y"),
        (["31-12-2023 10:00", "01-02-2024 09:30"], "%d-%m-%Y %H:%M"),
        (["12/31/2023 1:05 PM", "01/02/2024 11:00 AM"], "%m/%d/%Y %I:%M %p"),
        (["2023-12-31 10:00:00 UTC", "2024-01-02 11:00:00 UTC"], "%Y-%m-%d %H:%M:%S UTC"),
        (["hello", "world"], None), (["1", "2"], None), ([None, AT], ""),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_the_texts_have(texts: list, form: str | None) -> None:
    assert find_format(texts) == form


@pytest.mark.parametrize("hole", [None, "NA"])
def test_the_format_of_a_column_with_few_times_is_found(hole: str | None) -> None:
    assert find_format(["31.12.2023" if row % 400 == 7 else hole for row in range(4000)]) == "%d.%m.%Y"


def test_the_fields_are_those_of_the_calendar() -> None:
    values = Timestamp(("t",), ("",)).encode({"t": [AT, None]})[0]["values"]
    fields = dict(zip(FIELDS, values[0].tolist()))
    assert (fields["year"], fields["month"], fields["day"], fields["weekday"], fields["hour"]) == (2024, 2, 29, 3, 18.5)
    assert fields["day_sin"] == pytest.approx(np.sin(2 * np.pi * 18.5 / 24), abs=1e-6)
    assert np.isnan(values[1]).all()


def test_standard_scales_are_finite_and_survive_json() -> None:
    columns = {"t": ["03.04.2021", "29.02.2024", "", "28.02.2024"], "u": [1e9, 1.1e9, None, 1.2e9]}
    encoder = Timestamp.fit(columns, ["t", "u"], "standard")
    values = encoder.encode(columns)[0]["values"]
    assert encoder.formats == ("%d.%m.%Y", "")
    assert np.isfinite(values).all()
    assert not values[2].any()
    np.testing.assert_array_equal(Timestamp.from_json(encoder.to_json(), {}).encode(columns)[0]["values"], values)
