"""Lineage as two trees, and as a Graphviz DOT graph."""

from collections import defaultdict
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from projections.audit import Lineage
from projections.audit.lineage import ArtifactNode, AttemptNode, Edge, RunNode

Node = ArtifactNode | AttemptNode | RunNode
_VERBS_UP = {"made": "made by", "read": "read", "repaired": "repaired from", "given": "given"}
_VERBS_DOWN = {"made": "made", "read": "read by", "repaired": "repaired into", "given": "given to"}


def lineage_view(found: Lineage) -> RenderableType:
    nodes = _nodes(found)
    parts: list[RenderableType] = []
    for start in found.start:
        if found.direction != "down":
            parts.append(_tree(found, nodes, start, is_up=True))
        if found.direction != "up":
            parts.append(_tree(found, nodes, start, is_up=False))
    if found.used_by:
        parts.append(Text(f"used in {', '.join(found.used_by)}", style="dim"))
    if found.erased_in:
        runs = ", ".join(found.erased_in)
        said = f"events of {runs} have been erased: what they said of artifacts is missing here"
        parts.append(Text(said, style="magenta"))
    if found.truncated:
        parts.append(Text(f"not all of it: {found.truncated}; --depth bounds it", style="yellow"))
    return Group(*parts)


def lineage_dot(found: Lineage) -> str:
    """A digraph for `dot -Tsvg`: artifacts are boxes, attempts and runs ellipses."""
    lines = ["digraph lineage {", "  rankdir=LR;", "  node [fontname=sans, fontsize=10];"]
    for node in _nodes(found).values():
        shape = "box" if isinstance(node, ArtifactNode) else "ellipse"
        bold = ", style=bold" if node.id in found.start else ""
        lines.append(f"  {_quoted(node.id)} [shape={shape}{bold}, label={_quoted(_label(node))}];")
    for edge in found.edges:
        label = edge.kind if edge.repair is None else f"{edge.kind}: {edge.repair}"
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(label)}];")
    return "\n".join([*lines, "}"])


def _tree(found: Lineage, nodes: dict[str, Node], start: str, *, is_up: bool) -> Tree:
    """Depth first without recursion: lineages are as deep as pipelines are long."""
    beside: dict[str, list[tuple[str, Edge]]] = defaultdict(list)
    for edge in found.edges:
        near, far = (edge.target, edge.source) if is_up else (edge.source, edge.target)
        beside[near].append((far, edge))
    title = "what it was made from" if is_up else "what was made from it"
    root = Tree(Text.assemble(_named(nodes, start), (f"  {title}", "bold dim")))
    shown = {start}
    waiting = [(root, start)]
    if not beside[start]:
        root.add(Text("nothing that was recorded", style="dim"))
    while waiting:
        branch, node = waiting.pop()
        for far, edge in beside[node]:
            verb = (_VERBS_UP if is_up else _VERBS_DOWN)[edge.kind]
            kind = f" ({edge.repair})" if edge.repair else ""
            label = Text.assemble((f"{verb}{kind} ", "dim"), _named(nodes, far))
            if far in shown and beside[far]:
                branch.add(Text.assemble(label, ("  shown elsewhere", "dim italic")))
                continue
            shown.add(far)
            waiting.append((branch.add(label), far))
    return root


def _named(nodes: dict[str, Node], node_id: str) -> Text:
    return Text(_label(nodes[node_id])) if node_id in nodes else Text(node_id)


def _label(node: Node) -> str:
    match node:
        case ArtifactNode():
            place = f"{node.run_id}/{node.step_id}/" if node.run_id else ""
            return f"{place}{node.name} {node.digest[:12]}"
        case AttemptNode():
            used = [name for name in (node.model, node.prompt, node.prompt_pack) if name]
            return f"{node.run_id}/{node.step_id} #{node.ordinal} {node.status}" + (
                f" ({', '.join(used)})" if used else ""
            )
        case RunNode():
            return f"run {node.run_id} {node.status}"


def _nodes(found: Lineage) -> dict[str, Node]:
    nodes: Iterable[Node] = (*found.artifacts, *found.attempts, *found.runs)
    return {node.id: node for node in nodes}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
