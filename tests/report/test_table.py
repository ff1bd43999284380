"""The report's table of trials, the best one and the failures, in real headless Chromium."""

import math
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from playwright.sync_api import expect

import sweep_views as views

pytestmark = pytest.mark.slow


def names(report, view) -> list[str]:
    return [view.trials[index].name for index in report.rows()]


def test_the_table_begins_with_the_best_and_ends_with_what_has_no_result(open_report):
    view = views.vocoder()
    report = open_report(view)
    shown = [view.trials[index] for index in report.rows()]
    assert len(shown) == len(view.trials)
    ranked = [t for t in shown if t.objective is not None and math.isfinite(t.objective)]
    assert [t.objective for t in ranked] == sorted(t.objective for t in ranked)
    assert shown[: len(ranked)] == ranked and shown[0].name == view.best
    assert "★" in report.page.locator("#trials tbody tr").first.inner_text()


def test_a_trial_of_an_older_configuration_has_no_rank(open_report):
    new, old = views.trial({"lr": 1}, "done", 0.3), views.trial({"lr": 2}, "done", 0.1, older=True)
    report = open_report(views.sweep([old, new], best=new.name))
    assert report.rows() == [1, 0]
    assert "done, older" in report.page.locator("#trials tbody tr").nth(1).inner_text()
    assert report.page.evaluate("ranks") == [None, 1]


def test_a_heading_sorts_and_sorts_back_with_the_keyboard_too(open_report):
    view = views.vocoder()
    report = open_report(view)
    head = report.page.get_by_role("columnheader", name="generator.lr")
    head.get_by_role("button").click()
    rates = [view.trials[index].values[views.GENERATOR] for index in report.rows()]
    assert rates == sorted(rates)
    assert head.get_attribute("aria-sort") == "ascending"
    report.page.keyboard.press("Enter")
    rates = [view.trials[index].values[views.GENERATOR] for index in report.rows()]
    assert rates == sorted(rates, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    duration = report.page.get_by_role("columnheader", name="Duration")
    for _ in range(2):
        duration.get_by_role("button").click()
        seconds = [view.trials[index].seconds for index in report.rows()]
        empty = seconds.count(None)
        assert empty and seconds[-empty:] == [None] * empty, "what there is not is last, either way"
    assert report.page.locator("[aria-sort]").count() == 1


def test_rows_are_filtered_by_words_numbers_states_and_values(open_report):
    view = views.vocoder()
    report = open_report(view)
    page = report.page
    search, told = page.get_by_label("Search"), page.locator("#trials [role=status]").first

    def expected(keep) -> set[str]:
        return {trial.name for trial in view.trials if keep(trial)}

    search.fill("generator.lr<=2e-4 seed=1")
    low = expected(lambda t: t.values[views.GENERATOR] <= 2e-4 and t.values["seed"] == 1)
    assert set(names(report, view)) == low and len(low) == 6
    assert told.inner_text() == "6 of 24 trials"
    search.fill("mel_l1<0.56")
    assert set(names(report, view)) == expected(lambda t: t.metrics.get("test/mel_l1", 9) < 0.56)
    search.fill("nan FAILED")
    assert set(names(report, view)) == expected(lambda t: t.state == "failed")
    search.fill("")
    page.get_by_label("done").uncheck()
    assert set(names(report, view)) == expected(lambda t: t.state != "done")
    report.select("#trials", "seed", "1")
    assert set(names(report, view)) == expected(lambda t: t.state != "done" and t.values["seed"] == 1)
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(told).to_have_text("24 trials")
    assert len(report.rows()) == 24


def test_a_comparison_may_have_blanks_and_one_of_no_column_is_told(open_report):
    view = views.vocoder()
    report = open_report(view)
    search, told = report.page.get_by_label("Search"), report.page.locator("#trials [role=status]").first
    search.fill("generator.lr <= 2e-4  seed= 1")
    assert told.inner_text() == "6 of 24 trials"
    search.fill("lrr<1e-3")
    assert "there is no column lrr: there are generator.lr, discriminator.lr, seed" in told.inner_text()
    search.fill("seed<")
    assert "seed<: a number is missing" in told.inner_text()
    search.fill("seed > one")
    assert "one is no number" in told.inner_text()


def test_metrics_that_only_stage_3_gives_come_first_and_are_shown(open_report):
    logged = {f"valid/a{number}": 1.0 for number in range(9)}
    curves = {name: [(1.0, 1.0)] for name in (*logged, "valid/loss")}
    trial = views.trial({"lr": 1}, "done", 0.3, metrics={**logged, "valid/wer": 0.0085}, curves=curves)
    page = open_report(views.sweep([trial])).page
    heads = page.locator("#trials thead th").all_inner_texts()
    assert heads[3:5] == ["valid/loss", "valid/wer"] and "valid/a8" not in heads
    assert "0.0085" in page.locator("#best").inner_text()


def test_of_many_rows_those_in_sight_exist_and_scrolling_brings_the_others(open_report, until):
    view = views.many(2000)
    report = open_report(view)
    begin = report.rows()
    assert len(begin) == 100
    order = report.page.evaluate("table.window.indices")
    assert sorted(order) == list(range(2000)) and begin == order[:100]
    scroll = "document.querySelector('#trials .scroll')"
    report.page.evaluate(f"{scroll}.scrollTop = {scroll}.scrollHeight")
    until(lambda: report.rows()[-1] == order[-1], "the last row")
    report.page.locator(f"#trials tr[data-trial='{order[-1]}'] .rank").click()
    assert report.page.evaluate("selection.index") == order[-1]
    assert report.page.locator("#trials tr.chosen").count() == 1
    report.complaints[:] = [text for text in report.complaints if "verbose" not in text]


def test_columns_can_be_chosen(open_report):
    page = open_report(views.vocoder()).page
    page.get_by_text("Columns", exact=True).click()
    page.locator(".columns").get_by_label("valid/mel_l1").uncheck()
    assert page.get_by_role("columnheader", name="valid/mel_l1").count() == 0
    assert page.locator("#trials tbody tr").count() == 24


def test_the_best_trial_has_its_command_and_a_button_that_copies_it(open_report):
    view = views.vocoder()
    page = open_report(view).page
    best = next(trial for trial in view.trials if trial.name == view.best)
    assert best.command in page.locator("#best").inner_text()
    page.locator("#best").get_by_role("button", name="Copy command").click()
    page.locator("#best [role=status]", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == best.command
    assert view.command in page.locator("#command").inner_text()


def test_failures_are_folded_with_their_tracebacks(open_report):
    view = views.vocoder()
    page = open_report(view).page
    failures = page.locator("#failures details")
    assert failures.count() == 2 and page.locator("#failures pre").count() == 0
    failures.first.locator("summary").click()
    traceback = next(trial.traceback for trial in view.trials if trial.traceback)
    assert page.locator("#failures pre").inner_text().strip() == traceback.strip()
    failed = {trial.name for trial in view.trials if trial.state == "failed"}
    assert set(failures.first.locator(".of a").all_inner_texts()) == failed


def test_failures_that_differ_by_the_name_of_their_trial_are_told_once(open_report):
    trials = [views.trial({"lr": n}, "failed", name=f"t-{n}", message=f"no file exp/t-{n}/x") for n in (1, 2)]
    page = open_report(views.sweep([*trials, views.trial({"lr": 3}, "killed", message="by signal 9")])).page
    told = page.locator("#failures summary").all_inner_texts()
    assert told == ["2 trials no file exp/…/x", "1 trial by signal 9"]


def test_links_lead_to_the_folders_of_the_trials(open_report, tmp_path: Path):
    view = views.vocoder()
    page = open_report(view).page
    links = page.eval_on_selector_all("#trials tbody a", "links => links.map(link => link.href)")
    folders = {Path(unquote(urlparse(link).path)) for link in links}
    there = [trial for trial in view.trials if trial.state != "missing"]
    assert folders == {tmp_path / "sweep" / trial.directory for trial in there}
