"""The sweep as CSV and JSON."""

import csv
import io
import json
import math

import sweep_views as views
from espnet3.report.tables import as_csv, as_json


def rows(view):
    return list(csv.DictReader(io.StringIO(as_csv(view))))


def test_csv_has_a_row_for_each_trial_whatever_its_state():
    view = views.vocoder()
    table = rows(view)
    assert [row["trial"] for row in table] == [trial.name for trial in view.trials]
    assert [row["state"] for row in table] == [trial.state for trial in view.trials]
    for row, trial in zip(table, view.trials, strict=True):
        assert {key: float(row[key]) for key in view.keys} == trial.values
        assert row["valid/loss"] == ("" if trial.objective is None else repr(trial.objective))
    assert [row["trial"] for row in table if row["best"]] == [view.best]


def test_csv_holds_text_that_looks_like_csv():
    table = rows(views.sweep([views.trial({"tag": 'a,"b"\nc'}, "failed", message="x,\ny")]))
    assert table[0]["tag"] == 'a,"b"\nc' and table[0]["message"] == "x,\ny"


def test_json_is_the_view_and_valid_where_numbers_are_not():
    def refuse(name):
        raise AssertionError(name)

    view = views.vocoder()
    read = json.loads(as_json(view), parse_constant=refuse)
    assert read["keys"] == view.keys and read["best"] == view.best
    assert len(read["trials"]) == len(view.trials)
    for given, trial in zip(read["trials"], view.trials, strict=True):
        assert given["values"] == trial.values and given["traceback"] == trial.traceback
        assert given["curves"] == {name: [list(p) for p in curve] for name, curve in trial.curves.items()}
        if trial.objective is not None and math.isnan(trial.objective):
            assert given["objective"] == "NaN"


def test_hostile_texts_are_kept_as_they_are():
    view = views.hostile()
    read = json.loads(as_json(view))
    assert [trial["traceback"] for trial in read["trials"]] == [trial.traceback for trial in view.trials]
    assert len(rows(view)) == len(view.trials)
    as_csv(view).encode()
