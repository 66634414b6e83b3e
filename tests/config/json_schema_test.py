"""`weir schema` against a validator that is not ours (python3-jsonschema): whatever weir takes is valid, and mistakes are found where they are."""
import copy, glob, json, os, re, subprocess, sys, tempfile, unittest

try:
    import jsonschema, yaml
    from jsonschema.exceptions import best_match
except ImportError as missing:
    print(f"left out: {missing}")
    sys.exit(77)

ROOT = os.environ["WEIR_SOURCE_DIR"]
WEIR = os.environ["WEIR_BINARY"]
WRITE_CONFIGS = os.path.join(os.path.dirname(WEIR), "tests", "write_configs")


class Core(yaml.SafeLoader):
    """YAML 1.2's core schema, as editors read a file: no yes and no, no sexagesimal numbers, no dates; keys are text."""
    yaml_implicit_resolvers = {}

    def construct_mapping(self, node, deep=False):
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


for tag, pattern, first in (("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]), ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
                            ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
                            ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
                             list("-+.0123456789"))):
    Core.add_implicit_resolver("tag:yaml.org,2002:" + tag, re.compile(f"^({pattern})$"), first)
Core.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node))
Core.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10))


def load(text):
    return yaml.load(text, Loader=Core)


def weir(*arguments):
    return subprocess.run([WEIR, *arguments], capture_output=True, text=True, timeout=120)


def takes(path):
    return weir("validate", path).returncode == 0


class JsonSchema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = weir("schema").stdout
        cls.schema = json.loads(cls.text)
        cls.validator = jsonschema.Draft7Validator(cls.schema)
        with open(f"{ROOT}/tests/acceptance/main.yaml") as file:
            cls.main = load(file)

    def problem(self, document):
        """The first mistake as (path, words), where it is deepest; None when there is none."""
        error = best_match(self.validator.iter_errors(document))
        if error is None:
            return None
        return ".".join(str(step) for step in error.absolute_path), error.message

    def test_it_is_draft_07_and_the_same_each_time(self):
        jsonschema.Draft7Validator.check_schema(self.schema)
        self.assertEqual(self.schema["$schema"], "http://json-schema.org/draft-07/schema#")
        self.assertEqual(self.text, weir("schema").stdout)
        self.assertNotIn('"oneOf"', self.text)  # editors would report an arbitrary branch

    def test_every_property_is_described_and_every_default_is_valid(self):
        seen = 0
        def walk(schema):
            nonlocal seen
            for name, one in schema.get("properties", {}).items():
                seen += 1
                self.assertTrue(one.get("description"), name)
                inner = jsonschema.Draft7Validator(one)
                for value in [one[key] for key in ("default",) if key in one] + one.get("examples", []):
                    self.assertTrue(inner.is_valid(value), (name, value))
            for one in schema.values() if isinstance(schema, dict) else schema:
                if isinstance(one, dict):
                    walk(one)
                elif isinstance(one, list):
                    for part in one:
                        if isinstance(part, dict):
                            walk(part)
        walk(self.schema)
        self.assertGreater(seen, 100)

    def test_a_filter_is_one_property_of_an_item(self):
        item = self.schema["properties"]["policies"]["additionalProperties"]["properties"]["filters"]["items"]
        self.assertEqual((item["minProperties"], item["additionalProperties"]), (1, False))
        for name in ("timeout", "retry", "circuit_breaker", "use"):
            self.assertIn(name, item["properties"])
        self.assertEqual({"name", "mode", "when", "ramp", "total"} - set(item["properties"]["timeout"]["properties"]), set())

    def test_files_that_weir_takes_are_valid(self):
        files = sorted(glob.glob(f"{ROOT}/config/examples/*.yaml") + glob.glob(f"{ROOT}/tests/acceptance/*.yaml") +
                       glob.glob(f"{ROOT}/tests/golden/*.yaml"))
        taken = [path for path in files if takes(path)]
        self.assertGreaterEqual(len(taken), 7)
        for path in taken:
            with open(path) as file:
                self.assertIsNone(self.problem(load(file)), path)

    def test_broken_yaml_is_refused(self):
        with open(f"{ROOT}/tests/acceptance/broken.yaml") as file:
            document = load(file)
        places = {".".join(map(str, error.absolute_path)) for error in self.validator.iter_errors(document)}
        # A port out of range, a service that does not exist and a key that comes twice are for weir to find.
        for place in ("listeners.0", "listeners.0.routes.0", "policies.careful.filters.0.timeout.total",
                      "policies.careful.filters.1.retry.max_attempts", "policies.careful.filters.2"):
            self.assertIn(place, places)

    MISTAKES = (  # where, what is put there, where it is found
        ("services.payments.connect_timeout", "250", None),
        ("services.payments.connect_timeout", 250, None),
        ("services.payments.balance", "fastest", None),
        ("services.payments.balence", "round_robin", "services.payments"),
        ("services.payments.endpoints", [], None),
        ("services.payments.endpoints.0", "127.0.0.1", None),
        ("services.payments.endpoints.1.weight", 0, None),
        ("services.payments.keep_alive", "4s", None),
        ("services.payments.retry_budget.ratio", "0.2", None),
        ("services.payments.outlier_detection.causes", ["5xx", "timeouts"], "services.payments.outlier_detection.causes"),
        ("listeners.0.direction", "sideways", None),
        ("listeners.0.limits.header_bytes", "60KB", None),
        ("listeners.0.routes.0.match.path_prefix", "v1/", None),
        ("listeners.0.routes.0.request_headers.set", {"x y": "1"}, None),
        ("policies.careful.filters.0", {"timeoutt": {"total": "2s"}}, None),
        ("policies.careful.filters.0", {}, None),
        ("policies.careful.filters.0.timeout.mode", "on", None),
        ("policies.careful.filters.2.retry.max_attempts", 11, None),
        ("policies.careful.filters.2.retry.max_attempts", None, None),
        ("metrics.endpoint_labels", "yes", None),
        ("workers", 0, None),
        ("version", 2, None),
        ("admin", ["127.0.0.1:1"], None),
    )

    def test_single_mistakes_are_found_where_they_are_and_weir_agrees(self):
        self.assertIsNone(self.problem(self.main))
        for path, value, found in self.MISTAKES:
            document = copy.deepcopy(self.main)
            *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
            place = document
            for step in way:
                place = place[step]
            place[last] = value
            with self.subTest(path=path, value=value):
                problem = self.problem(document)
                self.assertIsNotNone(problem)
                self.assertTrue(problem[0].startswith(path if found is None else found), problem)
                with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                    yaml.safe_dump(document, file)
                    file.flush()
                    self.assertFalse(takes(file.name))

    def test_forms_that_weir_takes_beside_the_usual_ones(self):
        for path, value in (("workers", "${env:WORKERS}"), ("workers", 4), ("workers", "4"), ("services.payments.balance", "${file:balance}"),
                            ("services.payments.limits.connections", "1024"), ("services.payments.annotations", {"build": 42, "live": True}),
                            ("access_log.when.statuses", [503, "500-502", "4xx"]), ("access_log.when.statuses", 503),
                            ("listeners.0.routes.0.match.methods", "POST"), ("listeners.0.routes.0.match.hosts", "[::1]"),
                            ("services.payments.endpoints", "unix:/run/payments.sock"), ("metrics.endpoint_labels", "true"),
                            ("policies.careful.filters.2.retry.causes", 503), ("policies.careful.filters.2.retry.methods", ["GET", "PURGE"])):
            document = copy.deepcopy(self.main)
            *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
            place = document
            for step in way:
                place = place[step]
            place[last] = value
            with self.subTest(path=path, value=value):
                self.assertIsNone(self.problem(document))

    def test_whatever_weir_takes_is_valid(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([WRITE_CONFIGS, folder, "60", "20261126"], check=True, timeout=500)
            checked = 0
            for path in sorted(glob.glob(f"{folder}/*.yaml")):
                with open(path) as file:
                    text = file.read()
                try:
                    document = load(text)
                except yaml.YAMLError:
                    continue  # what only one of two YAML readers reads says nothing of the schema
                checked += 1
                self.assertIsNone(self.problem(document), text)
            self.assertGreater(checked, 50)


if __name__ == "__main__":
    unittest.main()
