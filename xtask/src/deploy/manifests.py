"""Checks of rendered manifests: `cargo xtask deploy` runs this."""

import json
import re
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

# Kinds that are not part of Kubernetes itself, and the file with their schema.
CUSTOM = {"PodMonitor": "podmonitor.schema.json"}
# Keys that only Helm writes, and kustomize does not.
OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by", "checksum/config")


def objects(text):
    """The objects of a file; a duplicate key is an error."""
    return [found for found in yaml.load_all(text, Loader=Strict) if found]


class Strict(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
    """YAML that refuses duplicate keys of a mapping."""


def once_each(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    if len(keys) != len(set(keys)):
        raise yaml.YAMLError(f"a key twice among {keys}, line {node.start_mark.line + 1}")
    return loader.construct_mapping(node, deep=True)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, once_each)


def validate(folder):
    """Check every file of `folder`/VERSION against the schemas of that version of Kubernetes."""
    own = {
        kind: json.loads((Path(__file__).parent / name).read_text())
        for kind, name in CUSTOM.items()
    }
    # The result for a text is the same for every file and version.
    seen, wrong, kinds = set(), [], set()
    for path in sorted(Path(folder).glob("*/*.yaml")):
        version = path.parent.name
        for found in objects(path.read_text()):
            kinds.add(found["kind"])
            text = json.dumps(found, sort_keys=True)
            if (version, text) in seen:
                continue
            seen.add((version, text))
            try:
                if found["kind"] in own:
                    jsonschema.validate(found, own[found["kind"]])
                else:
                    kubernetes_validate.validate(found, version, strict=True)
            except (
                jsonschema.ValidationError,
                kubernetes_validate.ValidationError,
            ) as error:
                where = ".".join(str(part) for part in error.path)
                wrong.append(f"{version}/{path.name}: {found['kind']} {where}: {error.message}")
    print(f"{len(seen)} objects of the kinds {', '.join(sorted(kinds))}")
    return wrong


def comparable(found):
    """An object without what only Helm writes, and without the hash in a generated name."""
    text = json.dumps(found, sort_keys=True)
    found = json.loads(re.sub(r'"spanprof-[0-9a-z]{10}"', '"spanprof"', text))

    def strip(part):
        if isinstance(part, list):
            return [strip(each) for each in part]
        if not isinstance(part, dict):
            return part
        kept = {key: strip(value) for key, value in part.items() if key not in OF_HELM}
        return {key: value for key, value in kept.items() if value != {}}

    return strip(found)


def same(rendered, kustomized):
    """Helm and kustomize make the same objects, except for kustomize's namespace."""

    def by_name(path):
        made = {}
        for found in objects(Path(path).read_text()):
            if found["kind"] != "Namespace":
                found = comparable(found)
                made[f"{found['kind']}/{found['metadata']['name']}"] = found
        return made

    ours, theirs = by_name(rendered), by_name(kustomized)
    return [
        f"{name}: {ours.get(name)} of Helm, {theirs.get(name)} of kustomize"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]


def documented(values, schema):
    """Every value is in the schema, and every entry of the schema is a value or a child of one."""

    def paths(part, schema, prefix=()):
        names = set(part or {}) | set(schema.get("properties", {}))
        for name in sorted(names):
            path = (*prefix, name)
            if name not in schema.get("properties", {}):
                yield f"{'.'.join(path)} is not in values.schema.json"
            elif name not in part:
                yield f"{'.'.join(path)} is not in values.yaml"
            elif isinstance(part[name], dict) and part[name]:
                yield from paths(part[name], schema["properties"][name], path)

    values = yaml.safe_load(Path(values).read_text())
    schema = json.loads(Path(schema).read_text())
    # Helm passes it to every chart in a chart; a CPU limit is allowed but not recommended.
    allowed = {"global", "resources.limits.cpu"}
    return [line for line in paths(values, schema) if line.split(" ", maxsplit=1)[0] not in allowed]


COMMANDS = {"validate": validate, "same": same, "documented": documented}

if __name__ == "__main__":
    problems = COMMANDS[sys.argv[1]](*sys.argv[2:])
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)
