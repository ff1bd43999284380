"""The sweep as one HTML page with style, script, Plotly and data inlined: works offline, from a file."""

import base64
import hashlib
import html
from importlib.resources import files
from string import Template

from espnet3.report.page_data import as_script, page_data
from espnet3.sweep.show.view import SweepView

SCRIPTS = (
    *("page/elements", "page/theme", "page/sweep", "page/cards"),
    *("table/filter", "table/rows", "table/table"),
    *("figures/plotting", "figures/cells", "figures/cells_figure", "figures/points_figure"),
    *("figures/curve_figure", "figures/over_keys", "figures/curves", "main"),
)
"""In the order in which they are run: what a script needs at once comes before it."""


def as_page(view: SweepView, folder: str) -> str:
    """The HTML of the page, to be written into `folder` as UTF-8.

    Texts of the sweep are embedded only as JSON, and shown only as text nodes. In addition, the page's
    content security policy runs only its own two scripts, by their hashes, and allows no request.
    """
    from plotly.offline import get_plotlyjs

    parts = files("espnet3.report") / "web"
    script = '"use strict";\n' + "\n".join((parts / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    plotly = get_plotlyjs()
    return Template((parts / "page.html").read_text("utf-8")).substitute(
        title=html.escape(f"{view.title}: sweep".encode("utf-8", "replace").decode("utf-8")),
        policy=_policy(script, plotly),
        style=(parts / "style.css").read_text("utf-8"),
        data=as_script(page_data(view, folder)),
        script=script,
        plotly=plotly,
    )


def _policy(*scripts: str) -> str:
    """A content security policy: only these scripts, inline styles, and pictures created in the page."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    styles, pictures = "style-src 'unsafe-inline'", "img-src data: blob:"
    return (
        f"default-src 'none'; script-src {hashes}; {styles}; {pictures}; base-uri 'none'; form-action 'none'"
    )
