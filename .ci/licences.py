"""Every dependency's licence and source against deny.toml. The same file serves cargo-deny where it is installed."""
import json
import re
import subprocess
import sys
import tomllib

rules = tomllib.load(open("deny.toml", "rb"))["licenses"]
allowed = set(rules["allow"])
exceptions = {entry["crate"]: set(entry["allow"]) for entry in rules.get("exceptions", [])}
metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))


def permitted(expression, names):
    """SPDX: OR needs one side, AND both; a WITH exception goes by its licence."""
    expression = re.sub(r"\s+WITH\s+[\w.-]+", "", expression.replace("/", " OR ").replace("+", ""))
    if "(" in expression:
        inner = re.search(r"\(([^()]*)\)", expression)
        value = "ALLOWED" if permitted(inner.group(1), names) else "DENIED"
        return permitted(expression[: inner.start()] + value + expression[inner.end() :], names)
    return any(all(word.strip() in names | {"ALLOWED"} for word in side.split(" AND ")) for side in expression.split(" OR "))


bad = []
for package in metadata["packages"]:
    source, licence = package["source"], package["license"]
    if source is None:
        continue
    if not source.startswith("registry+"):
        bad.append(f"{package['name']}: comes from {source}, not from a registry")
    names = allowed | exceptions.get(package["name"], set())
    if not licence or not permitted(licence, names):
        bad.append(f"{package['name']} {package['version']}: licence {licence!r} is not in deny.toml")
print("\n".join(bad) or f"{len(metadata['packages'])} packages, all allowed")
sys.exit(bool(bad))
