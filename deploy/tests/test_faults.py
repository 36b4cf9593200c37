"""The tests of the chart notice faults: each of these is planted in a copy of its templates, and
helm-unittest must fail. A fault whose text is no longer in the template must be written anew."""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import chart

# What is wrong, the template, the text in it, and the text in its place.
FAULTS = [
    ("replicas are given beside an autoscaler", "statefulsets.yaml",
     'if eq (include "twqr.autoscaler" (dict "values" $values)) "none"', "if true"),
    ("pods start one after another", "statefulsets.yaml", "podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady"),
    ("a pod has no member name", "statefulsets.yaml", '"member" true', '"member" false'),
    ("a pod is killed while it is not ready", "statefulsets.yaml",
     "livenessProbe:\n            httpGet: {path: /healthz", "livenessProbe:\n            httpGet: {path: /readyz"),
    ("a pod takes calls before it is ready", "statefulsets.yaml",
     "readinessProbe:\n            httpGet: {path: /readyz", "readinessProbe:\n            httpGet: {path: /healthz"),
    ("a budget says what must stay", "poddisruptionbudgets.yaml", "maxUnavailable: {{", "minAvailable: {{"),
    ("a fixed user cannot be left out", "_pod.tpl", "if $pod.fixedIds", "if true"),
    ("pods may run as root", "_pod.tpl", "  runAsNonRoot: true\n", ""),
    ("pods have no seccomp profile", "_pod.tpl", "  seccompProfile:\n    type: RuntimeDefault\n", ""),
    ("the root can be written", "_pod.tpl", "readOnlyRootFilesystem: true\n", ""),
    ("the environment of one service is lost", "_pod.tpl", "(default (list) .own)", "(list)"),
    ("the job has no extra environment", "_topics-job.tpl",
     '{{- include "twqr.environment" (dict "root" .root) | nindent 8 }}', "env: []"),
    ("the job disappears", "_topics-job.tpl", "backoffLimit:", "ttlSecondsAfterFinished: 60\nbackoffLimit:"),
    ("the job keeps its name when it changes", "topics-job.yaml",
     '(printf "%s-%s" $full (sha256sum $spec | trunc 10))', "$full"),
    ("autoscalers may exceed the partitions", "_checks.tpl", "if gt (int $values.autoscaling.max) $bound", "if false"),
    ("the grace period may be shorter than the drain", "_checks.tpl",
     "if lt (int .Values.pod.terminationGracePeriodSeconds) (int $least)", "if false"),
    ("two pods may share the embedded journal", "_checks.tpl", "(gt (int .Values.up.replicas) 1)", "false"),
    ("the test may pay with a real card", "_checks.tpl", "(not .Values.test.cardTokenSecret)", "false"),
    ("the test speaks plain text to a listener with TLS", "tests/pay.yaml",
     'ternary "https" "http" (ne $tls.caSecret "")', 'print "http"'),
    ("gateways do not see that a listener has TLS", "services.yaml",
     'ternary "kubernetes.io/h2c" "https" (eq $tls.grpc.secret "")', 'print "kubernetes.io/h2c"'),
    ("services may run without backends", "_checks.tpl", "if not (get $config $name)", "if false"),
    ("the test may be no caller", "_checks.tpl", "(not .Values.test.apiKeySecret)", "false"),
    ("certificates may be demanded that no authority vouches for", "_checks.tpl",
     "if not (get $.Values.tls $name).clientCaSecret", "if false"),
    ("the test may lack a certificate that is demanded", "_checks.tpl", "(not .Values.tls.client.certSecret)", "false"),
    ("everyone may pay by mistake", "_checks.tpl", "if not (or $config.access.required $config.access.insecure)", "if false"),
    ("no pod starts, since its admin is reached by others", "_config.tpl", "insecure_admin = true\n", ""),
    ("metrics may be open by mistake", "_checks.tpl",
     "if not (or .Values.networkPolicy.enabled $config.access.insecure_admin)", "if false"),
    ("the notes do not say that metrics are open", "NOTES.txt", "if not .Values.networkPolicy.enabled", "if false"),
    ("authorities of callers may have no effect", "_checks.tpl", "if and $tls.clientCaSecret (not $tls.secret)", "if false"),
    ("the test's certificate may go over plain text", "_checks.tpl", 'list "wallet" "fisc" "client"', 'list "wallet" "fisc"'),
    ("an authority of the collector may have no effect", "_checks.tpl",
     '(ne .Values.tls.telemetry.caSecret "")',
     '(and (hasPrefix "https://" $config.telemetry.endpoint) (ne .Values.tls.telemetry.caSecret ""))'),
    ("the fewest pods may be more than the most", "_checks.tpl",
     "if gt (int $values.autoscaling.min) (int $values.autoscaling.max)", "if false"),
    ("two listeners may share a port", "_checks.tpl", "if ne (len $ports) (len (uniq $ports))", "if false"),
    ("topics may have more copies than Kafka has nodes", "_checks.tpl",
     "(gt (int $config.kafka.replication) (int .Values.strimzi.nodes))", "false"),
    ("an autoscaler may wait for a request of CPU for ever", "_checks.tpl", 'if not (dig "requests" "cpu"', 'if and false (dig "requests" "cpu"'),
    ("callers stay at one pod", "_config.tpl", "connection_age_s = {{ int64 $config.connection_age_s }}\n", ""),
    ("the pods have no names", "services.yaml", "  clusterIP: None\n", ""),
    ("an autoscaler scales another workload", "autoscalers.yaml",
     "scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: {{ $full }}}", "scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: other}"),
    ("every worker reaches both backends", "networkpolicies.yaml",
     'if has (printf "%s-worker" $backend) $workload.runs', "if true"),
    ("everyone may call where no caller is named", "networkpolicies.yaml",
     "and $workload.calls (or $policy.callers $.Values.test.enabled)", "$workload.calls"),
    ("the test cannot call where no caller is named", "networkpolicies.yaml",
     "and $workload.calls (or $policy.callers $.Values.test.enabled)", "and $workload.calls $policy.callers"),
    ("the notes do not say that callers are kept out", "NOTES.txt", "(not .Values.networkPolicy.callers)", "false"),
    ("pods reach the whole network", "networkpolicies.yaml",
     "policyTypes: [Ingress, Egress]\n  egress:\n    - to:", "policyTypes: [Ingress]\n  egress:\n    - to:"),
    ("an unclean leader may be elected", "strimzi.yaml",
     'unclean.leader.election.enable: "false"', 'unclean.leader.election.enable: "true"'),
    ("brokers do not stamp records", "strimzi.yaml", "    message.timestamp.type: LogAppendTime\n", ""),
    ("the layout is deleted after a day", "strimzi.yaml", '"layout" (list 1 0)', '"layout" (list 1 24)'),
    ("every program may do what the router may", "strimzi.yaml", "get $rights $program", 'get $rights "router"'),
    ("every program has the same user", "_config.tpl", 'printf "%s-%s" $full $program', "$full"),
    ("a secret is fetched under another name", "externalsecrets.yaml",
     "  target:\n    name: {{ $name }}", "  target:\n    name: other"),
    ("alerts do not find the jobs", "monitors.yaml", "replacement: twqr-$1", "replacement: $1"),
    ("no pod is monitored", "monitors.yaml", "twqr/service: pods", "twqr/service: none"),
]


def is_noticed(fault):
    _, template, text, other = fault
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "twqr"
        shutil.copytree(chart.CHART, copy)
        file = copy / "templates" / template
        whole = file.read_text()
        if text not in whole:
            raise AssertionError(f"{template} does not contain: {text}")
        file.write_text(whole.replace(text, other))
        done = subprocess.run([os.environ["UNITTEST"], "--strict", copy], capture_output=True, text=True, check=False)
        return done.returncode != 0


class Faults(unittest.TestCase):
    def test_each_planted_fault_is_noticed(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            noticed = list(pool.map(is_noticed, FAULTS))
        unnoticed = [fault[0] for fault, seen in zip(FAULTS, noticed) if not seen]
        self.assertEqual(unnoticed, [], "no test of the chart notices")
        print(f"chart: {len(FAULTS)} planted faults, each noticed")


if __name__ == "__main__":
    unittest.main()
