# SPDX-License-Identifier: LGPL-2.1-or-later
"""The part of JSON Schema that data/vmmi/*.schema.json uses."""
import json
import os
import re

SCHEMAS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "data/vmmi")
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
KNOWN = {"$schema", "title", "description", "type", "const", "enum", "required", "properties", "items", "oneOf", "pattern", "minimum",
         "maximum", "exclusiveMinimum", "minLength", "minItems", "maxItems"}


def errors(value, schema, where="message"):
    """What is wrong with the value, as texts."""
    unknown = set(schema) - KNOWN
    if unknown:
        raise ValueError(f"this checker does not know {unknown}")
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{where} is not of type {kind}"]
    found = []
    rules = (("const", lambda rule: value == rule), ("enum", lambda rule: value in rule),
             ("pattern", lambda rule: re.search(rule, value)), ("minimum", lambda rule: value >= rule),
             ("maximum", lambda rule: value <= rule), ("exclusiveMinimum", lambda rule: value > rule),
             ("minLength", lambda rule: len(value) >= rule), ("minItems", lambda rule: len(value) >= rule),
             ("maxItems", lambda rule: len(value) <= rule))
    for name, holds in rules:
        if name in schema and not holds(schema[name]):
            found.append(f"{where} = {value!r} breaks {name} {schema[name]!r}")
    for name in schema.get("required", ()):
        if name not in value:
            found.append(f"{where} has no '{name}'")
    for name, part in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            found += errors(value[name], part, f"{where}.{name}")
    if "items" in schema:
        for number, item in enumerate(value):
            found += errors(item, schema["items"], f"{where}[{number}]")
    if "oneOf" in schema:
        results = [errors(value, part, where) for part in schema["oneOf"]]
        if sum(not result for result in results) != 1:
            found.append(f"{where} fits {sum(not result for result in results)} of oneOf: {results}")
    return found


def load(name):
    with open(os.path.join(SCHEMAS, name + ".schema.json"), encoding="utf-8") as file:
        return json.load(file)
