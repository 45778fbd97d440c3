"""Two records, compared: as text for a terminal, as JSON, and as Markdown for a comment of CI."""

from gacheck.reporters.comparison.document import render_document
from gacheck.reporters.comparison.markdown import render_markdown
from gacheck.reporters.comparison.text import render_text
from gacheck.reporters.reporter import COMPARISONS, Reporter

REPORTERS = (
    Reporter("terminal", ".txt", False, COMPARISONS, lambda found, view: render_text(found, view).encode()),
    Reporter("json", ".json", False, COMPARISONS, lambda found, view: render_document(found).encode()),
    Reporter("markdown", ".md", False, COMPARISONS, lambda found, view: render_markdown(found).encode()),
)
