"""An article as an HTML page. Raw HTML in the text is shown, not obeyed, and links are checked."""

from html import escape

from markdown_it import MarkdownIt

from ledger.demo.article import Article, Section

_MARKDOWN = MarkdownIt("js-default", {"html": False})  # the preset for text one does not trust

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="description" content="{description}">
<meta name="keywords" content="{keywords}">
</head>
<body>
<article>
<h1>{title}</h1>
<p>{description}</p>
{sections}</article>
</body>
</html>
"""


def render_html(article: Article) -> str:
    return _PAGE.format(
        title=escape(article["title"]),
        description=escape(article["description"]),
        keywords=escape(", ".join(article["keywords"])),
        sections="".join(map(_section, article["sections"])),
    )


def _section(section: Section) -> str:
    heading, body = escape(section["heading"]), _MARKDOWN.render(section["body"])
    return f"<section>\n<h2>{heading}</h2>\n{body}</section>\n"
