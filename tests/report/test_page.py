"""The report's page as a whole in real headless Chromium: looks, safety, size, hostile and empty sweeps."""

import dataclasses
from pathlib import Path

import pytest

import sweep_views as views
from espnet3.report.axes import axes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_is_the_systems_until_the_button_is_pressed(open_report, system: str):
    page = open_report(views.digits(), color_scheme=system).page

    def look() -> tuple[bool, str]:
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(int(part) for part in back[4:-1].split(",")) > 380
        return light, page.evaluate("document.querySelector('#map .plot').layout.font.color")

    begin = look()
    assert begin[0] == (system == "light")
    page.locator("#theme").click()
    after = look()
    assert after[0] != begin[0] and after[1] != begin[1]
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert look() == after


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(open_report, scheme: str):
    """WCAG's contrast of text to what is behind it, for every text of the page."""
    page = open_report(views.vocoder(), color_scheme=scheme).page
    for summary in page.locator("#failures summary").all():
        summary.click()
    page.locator("#trials tbody tr").nth(1).click()
    low = page.evaluate(
        """() => {
            const parse = text => text.match(/[\\d.]+/g).map(Number);
            const light = rgb => rgb.slice(0, 3).map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const behind = node => {
                for (; node; node = node.parentElement) {
                    const rgb = parse(getComputedStyle(node).backgroundColor);
                    if (rgb.length < 4 || rgb[3] > 0) return rgb;
                }
            };
            const low = [];
            for (const node of document.body.querySelectorAll('*')) {
                if (!node.checkVisibility() || node.closest('svg, script')) continue;
                if (![...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())) continue;
                const text = light(parse(getComputedStyle(node).color)), back = light(behind(node));
                const contrast = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
                if (contrast < 4.5) low.push([node.textContent, contrast]);
            }
            return low;
        }"""
    )
    assert low == []


def test_controls_have_names(open_report):
    page = open_report(views.vocoder()).page
    nameless = page.eval_on_selector_all(
        "button, select, input, a, summary",
        """nodes => {
            const labelled = node => [...(node.labels ?? [])].some(label => label.textContent.trim());
            const named = node => node.ariaLabel || node.textContent.trim() || labelled(node);
            return nodes.filter(node => !named(node)).map(node => node.outerHTML);
        }""",
    )
    assert nameless == []
    plots = page.get_by_role("figure", name="valid/loss")
    assert plots.count() == 2


@pytest.mark.parametrize("width", [360, 768])
def test_the_page_is_no_wider_than_a_phone(open_report, until, width: int):
    page = open_report(views.vocoder()).page
    page.set_viewport_size({"width": width, "height": 800})
    plot = "document.querySelector('#map .plot .main-svg').getBoundingClientRect().right"
    fits = f"Math.max({plot}, document.documentElement.scrollWidth) <= innerWidth"
    until(lambda: page.evaluate(fits), "the page to fit")


def test_hostile_texts_are_shown_and_never_run(open_report):
    view = views.hostile()
    report = open_report(view)
    page = report.page
    for summary in page.locator("#failures summary").all():
        summary.click()
    page.locator("#trials tbody tr").nth(1).click()
    for key in ("x", "nothing: a curve"):
        report.select("#map", "Up", key)
    page.locator("#curves select").select_option(index=1)
    page.mouse.move(400, 600)
    assert page.evaluate("window.hacked") is None
    assert page.locator("#map .xtitle").text_content() == axes(view)[0].label
    assert page.locator("main b b, main img, main svg[onload], main script").count() == 0
    assert page.locator("#name").inner_text() == view.name
    assert page.title() == f"{view.title}: sweep"
    shown = page.locator("#trials tbody").inner_text()
    for text in views.HOSTILE[:5]:
        assert text in shown
    for text in page.locator("#failures pre").all_inner_texts():
        assert any(one.strip() in text for one in views.HOSTILE[:-1]) or "surrogate" in text
    links = page.eval_on_selector_all("main a", "links => links.map(link => link.protocol)")
    assert set(links) == {"file:"}


def test_the_page_may_run_no_other_script_and_ask_for_nothing(open_report):
    report = open_report(views.digits())
    tried = report.page.evaluate(
        """async () => {
            const script = document.createElement('script');
            script.textContent = 'window.hacked = 1';
            document.body.append(script);
            const asked = await fetch('http://127.0.0.1:9/').then(() => 'answered', () => 'refused');
            return [window.hacked ?? null, asked];
        }"""
    )
    assert tried == [None, "refused"]
    assert report.complaints and all("Content Security Policy" in text for text in report.complaints[:2])
    report.complaints.clear()
    report.requests[:] = report.requests[:1]


def test_no_button_sends_the_data_anywhere(open_report):
    """Plotly has one by default, which shares a chart over its makers' server."""
    page = open_report(views.vocoder()).page
    names = "nodes => nodes.map(node => node.ariaLabel || node.textContent)"
    buttons = page.eval_on_selector_all(".modebar-btn, .modebar a", names)
    known = {"Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}
    assert set(buttons) == known
    with page.expect_download() as download:
        page.get_by_role("button", name="Download plot").first.dispatch_event("click")
    assert download.value.suggested_filename == "corpus-task-vocoder-learning-rates.png"


def test_a_sweep_that_has_not_begun_has_a_page(open_report):
    view = views.sweep([views.trial({"lr": n}, "queued", seconds=None) for n in (1e-4, 2e-4)])
    page = open_report(view).page
    assert "No trial is finished yet" in page.locator("#best").inner_text()
    assert "No trial has a value yet" in page.locator("#map").inner_text()
    assert page.locator("#curves").is_hidden() and page.locator("#failures").is_hidden()


def test_nothing_swept_and_no_trial_has_a_page(open_report):
    page = open_report(views.sweep([])).page
    assert page.locator("#map").is_hidden()
    assert page.locator("#trials [role=status]").first.inner_text() == "0 trials"


def test_a_thousand_trials_are_a_few_traces_and_megabytes(open_report):
    view = views.many(1000)
    report = open_report(view)
    page = report.page
    assert len(report.rows()) < 400, "only rows near the visible part exist"
    assert report.file.stat().st_size < 10e6
    traces = page.evaluate("document.querySelector('#curves .plot').data")
    assert len(traces) <= 10
    assert {trial for trace in traces for trial in trace["customdata"]} - {None} == set(range(1000))
    assert page.locator("#failures summary").inner_text().startswith("53 trials")
    points = page.evaluate("document.querySelector('#map .plot').data.map(trace => trace.x.length)")
    assert sum(points[:2]) == 1000
    assert page.locator("#map .plot").evaluate("plot => plot.layout.xaxis.type") == "log"
    page.get_by_label("Search").fill("generator.lr>1e-3 duration<500")
    rows = [view.trials[index] for index in report.rows()]
    assert rows == [t for t in rows if t.values[views.GENERATOR] > 1e-3 and t.seconds < 500] and rows
    report.complaints[:] = [text for text in report.complaints if "verbose" not in text]


def test_a_copy_elsewhere_works_alike(open_report, tmp_path: Path):
    """One self-contained file: alone in another folder it is the same page."""
    report = open_report(views.digits())
    copy = tmp_path / "mailed.html"
    copy.write_bytes(report.file.read_bytes())
    report.page.goto(copy.as_uri())
    report.page.wait_for_selector("html[data-ready]")
    assert len(report.rows()) == 5
    report.requests.remove(copy.as_uri())


def test_long_names_and_messages_keep_to_the_width_of_the_page(open_report):
    one = views.trial({"lr": 1e-4}, "failed", name="x" * 200, message="first\nsecond " + "y" * 3000)
    page = open_report(dataclasses.replace(views.sweep([one]), name="z" * 250)).page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
