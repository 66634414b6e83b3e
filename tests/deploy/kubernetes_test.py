"""The Kubernetes example says what its README says, and weir accepts the policy in its ConfigMap."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

try:
    import yaml
except ImportError:
    print("no python3-yaml here")
    sys.exit(77)

ROOT = os.environ["WEIR_SOURCE_DIR"]
WEIR = os.environ.get("WEIR_BINARY", "")
with open(os.path.join(ROOT, "deploy/kubernetes/shop.yaml"), encoding="utf-8") as stream:
    DOCUMENTS = list(yaml.safe_load_all(stream))


def one(kind):
    found = [d for d in DOCUMENTS if d["kind"] == kind]
    assert len(found) == 1, kind
    return found[0]


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


class KubernetesTest(unittest.TestCase):
    def setUp(self):
        self.pod = one("Deployment")["spec"]["template"]
        self.spec = self.pod["spec"]
        self.weir = self.spec["initContainers"][0]
        self.policy_text = one("ConfigMap")["data"]["weir.yaml"]
        self.policy = yaml.safe_load(self.policy_text)
        self.ports = {p["name"]: p["containerPort"] for p in self.weir["ports"]}

    def test_weir_is_a_native_sidecar(self):
        self.assertEqual(1, len(self.spec["initContainers"]))
        self.assertEqual("Always", self.weir["restartPolicy"])
        self.assertEqual(["run", "-c", "/etc/weir/weir.yaml"], self.weir["args"])

    def test_every_container_is_restricted(self):
        self.assertFalse(self.spec["automountServiceAccountToken"])
        for name in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"]:
            self.assertNotIn(name, self.spec)
        for container in self.spec["initContainers"] + self.spec["containers"]:
            context = container["securityContext"]
            self.assertIs(True, context["runAsNonRoot"])
            self.assertIs(False, context["allowPrivilegeEscalation"])
            self.assertIs(True, context["readOnlyRootFilesystem"])
            self.assertEqual({"drop": ["ALL"]}, context["capabilities"])
            self.assertEqual({"type": "RuntimeDefault"}, context["seccompProfile"])
            self.assertNotIn("privileged", context)
            self.assertIn("memory", container["resources"]["limits"])
        self.assertGreater(self.spec["securityContext"]["runAsUser"], 0)

    def test_probes_ask_the_read_only_listener(self):
        listen = self.policy["admin"]["read_only_listen"]
        self.assertEqual(f"0.0.0.0:{self.ports['weir-admin']}", listen)  # the kubelet comes by the pod's address
        paths = {"startupProbe": "/readyz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
        for probe, path in paths.items():
            self.assertEqual({"path": path, "port": "weir-admin"}, self.weir[probe]["httpGet"])
        annotations = self.pod["metadata"]["annotations"]
        self.assertEqual(str(self.ports["weir-admin"]), annotations["prometheus.io/port"])

    def test_the_service_finds_its_port_also_where_sidecars_names_are_not_known(self):
        self.assertEqual([self.ports["weir-inbound"]], [port["targetPort"] for port in one("Service")["spec"]["ports"]])
        listeners = {item["name"]: item for item in self.policy["listeners"]}
        self.assertEqual(f"0.0.0.0:{self.ports['weir-inbound']}", listeners["inbound"]["listen"])
        application = self.spec["containers"][0]
        target = f"127.0.0.1:{application['ports'][0]['containerPort']}"
        self.assertEqual([target], self.policy["services"]["app"]["endpoints"])
        urls = [e["value"] for e in application["env"]]
        self.assertEqual(["http://" + listeners["outbound"]["listen"]], urls)
        self.assertTrue(listeners["outbound"]["listen"].startswith("127.0.0.1:"))

    def test_nothing_is_intercepted(self):
        self.assertNotIn("intercept", self.policy_text)
        self.assertNotIn("NET_ADMIN", str(self.spec))

    def test_the_grace_period_is_longer_than_the_drain(self):
        self.assertGreater(self.spec["terminationGracePeriodSeconds"], seconds(self.policy["drain"]["timeout"]))

    def test_volumes_and_labels_meet(self):
        volumes = {v["name"]: v for v in self.spec["volumes"]}
        mounts = {m["name"]: m for m in self.weir["volumeMounts"]}
        self.assertEqual(set(volumes), set(mounts))
        self.assertEqual("/etc/weir", mounts["weir-config"]["mountPath"])
        self.assertNotIn("subPath", mounts["weir-config"])
        self.assertEqual(one("ConfigMap")["metadata"]["name"], volumes["weir-config"]["configMap"]["name"])
        socket = self.policy["admin"]["listen"].removeprefix("unix:")
        self.assertEqual(os.path.dirname(socket), mounts["weir-run"]["mountPath"])
        selector = one("Deployment")["spec"]["selector"]["matchLabels"]
        self.assertEqual(selector, one("Service")["spec"]["selector"])
        self.assertLessEqual(selector.items(), self.pod["metadata"]["labels"].items())

    @unittest.skipUnless(os.access(WEIR, os.X_OK), "the weir program is not built")
    def test_weir_accepts_the_policy(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "weir.yaml")
            with open(path, "w", encoding="utf-8") as out:
                out.write(self.policy_text)
            done = subprocess.run([WEIR, "validate", "--strict", path], capture_output=True, text=True, check=False)
            self.assertEqual(0, done.returncode, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
