"""A model's history over the releases, for the terminal and as JSON."""

from __future__ import annotations

import json
from typing import Any

from gacheck import __version__
from gacheck.core.history import Change, History, Span, Tried
from gacheck.reporters.reporter import PAGE, View
from gacheck.reporters.text import HEADS, ascii_only, clean, duration, paint, shorten, wrap
from gacheck.rules.table import Severity
from gacheck.words.history import describe, headline, limits

FIELD = 11


def render_history(history: History, model: str, seconds: float, view: View = PAGE) -> str:
    """Render a table of releases and what changed between them; the answer comes last.

    Args:
        history: What was found.
        model: What was tried.
        seconds: How long it took.
        view: What the terminal shows.
    """
    count = f"{len(history.tried)} of {len(history.releases)} releases tried in {duration(seconds)}"
    lines = wrap(f"gacheck {__version__} · {shorten(clean(model), view.columns // 2)} · {count}", "", view.columns)
    lines += ["", *_table(history, view), ""]
    lines += wrap(f"{clean(model)}: {headline(history)}", "", view.columns, indent=FIELD)
    for label, text in (*_changes(history), *limits(history)):
        lines += wrap(clean(text), f"{'  ' + label:<{FIELD}}", view.columns)
    text = "\n".join(lines) + "\n"
    return ascii_only(text) if view.ascii else text


def _table(history: History, view: View) -> list[str]:
    rows = [
        (*_verdict(span.first), _between(span), f"{span.num_tried} of {span.num_releases}") for span in history.spans
    ]
    if not rows:
        return ["no release gave a verdict"]
    widest = max(len("releases"), *(len(between) for _, _, between, _ in rows))
    lines = [f"{'releases':<{widest}}  {'tried':>8}  verdict"]
    for severity, code, between, tried in rows:
        head = "" if severity is None else HEADS[severity]
        word = head if code == "OK" else f"{head} {code}".strip()
        shown = paint(word, severity) if view.color and severity is not None else word
        lines.append(f"{between:<{widest}}  {tried:>8}  {shown}")
    return lines


def _verdict(tried: Tried) -> tuple[Severity | None, str]:
    if tried.state == "absent" or tried.state == "unknown":
        return None, "– (it cannot make the model)"
    return tried.state, tried.code or ""


def _between(span: Span) -> str:
    first, last = span.first.release, span.last.release
    return first if first == last else f"{first} – {last}"


def _changes(history: History) -> list[tuple[str, str]]:
    return [("changed" if place == 0 else "", describe(change)) for place, change in enumerate(history.changes)]


def render_history_json(history: History, model: str, seconds: float) -> str:
    """Render all that was found, release by release."""
    bad, good = history.first_bad, history.first_good
    document = {
        "kind": "bisect",
        "gacheck": __version__,
        "model": model,
        "seconds": round(seconds, 1),
        "first_bad": bad and bad.release,
        "first_good": good and good.release,
        "bad": [{"first": first.release, "last": last.release} for first, last in history.bad],
        "summary": headline(history),
        "certain": history.is_certain,
        "monotone": len(history.changes) < 2,
        "changes": [_change(each) for each in history.changes],
        "tried": [_tried(each) for each in history.tried],
        "untried": list(history.untried),
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _change(change: Change) -> dict[str, Any]:
    return {
        "before": change.before.release,
        "after": change.after.release,
        "from": change.before.answer,
        "to": change.after.answer,
        "between": list(change.between),
    }


def _tried(tried: Tried) -> dict[str, Any]:
    return {
        "transformers": tried.release,
        "class": tried.class_name,
        "verdict": tried.code,
        "severity": None if tried.state in ("absent", "unknown") else tried.state,
        "state": tried.state,
        "reason": tried.reason or None,
    }
