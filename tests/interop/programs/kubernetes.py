"""Checks a manifest against the schemas of several versions of Kubernetes, strictly, and prints its documents as JSON."""

import json
import sys

import kubernetes_validate
import yaml

with open(sys.argv[1]) as file:
    documents = list(yaml.safe_load_all(file))
for document in documents:
    for version in ["1.25", "1.31", "1.37"]:
        kubernetes_validate.validate(document, version, strict=True)
json.dump(documents, sys.stdout)
