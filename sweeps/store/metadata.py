"""The metadata of a store as it is published: that of every node once more at its top, under a digest of it all."""

import asyncio
import hashlib
import json
import re
import warnings
from typing import Any

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

ROOT = "zarr.json"  # of the node in whose folder it lies; at the top, of all
DIGEST = "metadata_sha256"  # attribute of the root
COPY = ".attributes"  # those of the root once more, under a digest of their own
PUBLISHED = '"consolidated_metadata": {'
PLACE = re.compile(rf'("{DIGEST}": ")([^"]*)(")')


def publish(store: Any) -> None:
    """Publish the metadata as it stands: readers see one consistent hierarchy, old or new, never half of one."""
    unpublish(store)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(store)
    document = json.loads(_text(store, ROOT) or "")
    attributes = json.dumps(document["attributes"], indent=2)
    _set(store, COPY, f"{hashlib.sha256(attributes.encode()).hexdigest()}\n{attributes}")
    document["attributes"][DIGEST] = ""
    text = json.dumps(document, indent=2)
    _set(store, ROOT, PLACE.sub(rf"\g<1>{_digest(text)}\g<3>", text))


def unpublish(store: Any) -> None:
    """Before nodes change: until they are published again readers go by the metadata of each."""
    root = zarr.open_group(store, mode="r+", use_consolidated=False)
    if root.attrs.pop(DIGEST, None) is None and PUBLISHED in (_text(store, ROOT) or ""):
        root.update_attributes({})  # which writes it without


def is_digest_wrong(store: Any) -> bool:
    """Whether the published metadata are others than were published. Older versions left no digest to tell it by."""
    text = _text(store, ROOT) or ""
    found = PLACE.search(text)
    return found is not None and PUBLISHED in text and found[2] != _digest(text)


def root_damage(store: Any) -> str:
    """What is wrong with the root's metadata, as far as the copy of its attributes lets it be known; empty: nothing."""
    text = _text(store, ROOT)
    if text is None:
        return "is missing" if _text(store, COPY) is not None else ""
    if is_digest_wrong(store):
        return "holds other metadata than were published"
    try:
        json.loads(text)
    except ValueError:
        return "is damaged"
    return ""


def is_copy_wrong(store: Any) -> bool:
    """Whether the copy of the root's attributes is damaged, missing, or another than what is published of them."""
    root = json.loads(_text(store, ROOT) or "{}")
    published = {name: value for name, value in root.get("attributes", {}).items() if name != DIGEST}
    try:
        copied = published_attributes(store)
    except ValueError:
        return DIGEST in root.get("attributes", {}) or _text(store, COPY) is not None
    return "consolidated_metadata" in root and copied != published


def published_attributes(store: Any) -> dict[str, Any]:
    """The attributes of the root as they were published, from their copy; ValueError where that is damaged too."""
    digest, _, attributes = (_text(store, COPY) or "").partition("\n")
    if digest != hashlib.sha256(attributes.encode()).hexdigest():
        raise ValueError(f"{COPY}, the copy of its attributes, is damaged or missing too")
    return json.loads(attributes)


def changed_nodes(store: Any) -> dict[str, Any]:
    """The published metadata of each node, by its path, whose own are missing or others."""
    document = json.loads(_text(store, ROOT) or "{}")
    published = (document.get("consolidated_metadata") or {}).get("metadata", {})
    found = sync(_all(store, [f"{path}/{ROOT}" for path in published]))
    changed = {}
    for (path, metadata), text in zip(published.items(), found, strict=True):
        wanted = {key: value for key, value in metadata.items() if key != "consolidated_metadata"}
        try:
            own = json.loads(text or "null")
        except ValueError:
            own = None
        if own != wanted:
            changed[path] = wanted
    return changed


def write_node(store: Any, path: str, metadata: Any) -> None:
    """Write the metadata of a node; of the root where the path is empty."""
    _set(store, f"{path}/{ROOT}".removeprefix("/"), json.dumps(metadata, indent=2))


def _digest(text: str) -> str:
    return hashlib.sha256(PLACE.sub(r"\g<1>\g<3>", text).encode()).hexdigest()


def _text(store: Any, key: str) -> str | None:
    return sync(_all(store, [key]))[0]


async def _all(store: Any, keys: list[str]) -> list[str | None]:
    """Texts of objects, asked for at once; None for what is not there."""
    found = await asyncio.gather(*(store.get(key, default_buffer_prototype()) for key in keys))
    return [None if text is None else text.to_bytes().decode(errors="replace") for text in found]


def _set(store: Any, key: str, text: str) -> None:
    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(text.encode())))
