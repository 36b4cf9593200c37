{{/* Refuses values that cannot work together, in one place. */}}
{{- define "twqr.checks" -}}
{{- $config := .Values.config -}}
{{- $onKafka := or $config.kafka.bootstrap .Values.strimzi.enabled -}}
{{- if and (eq .Values.mode "services") (not $onKafka) -}}
{{- fail "config.kafka.bootstrap is empty: mode `services` needs brokers as host:port; or enable strimzi, or use mode `up`" -}}
{{- end -}}
{{- if and (eq .Values.mode "up") (gt (int .Values.up.replicas) 1) (not $onKafka) -}}
{{- fail "up.replicas is above 1: one pod alone can use the embedded journal; set config.kafka.bootstrap for more" -}}
{{- end -}}
{{- if not .Values.simulator.enabled -}}
{{- range $name := list "wallet" "fisc" -}}
{{- if not (get $config $name) -}}
{{- fail (printf "config.%s is empty: write where it is as host:port, or enable the simulator" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.test.enabled (not .Values.simulator.enabled) (not .Values.test.cardTokenSecret) -}}
{{- fail "test.cardTokenSecret is empty: without the simulator the test needs a card that pays" -}}
{{- end -}}
{{- if and .Values.test.enabled $config.access.required (not .Values.test.apiKeySecret) -}}
{{- fail "test.apiKeySecret is empty: the test is a caller, and config.access.required lets in only callers" -}}
{{- end -}}
{{- if and .Values.test.enabled .Values.tls.grpc.secret (not .Values.tls.client.caSecret) -}}
{{- fail "tls.client.caSecret is empty: the test needs the authority of the certificate in tls.grpc.secret" -}}
{{- end -}}
{{- range $name := $config.access.key_and_certificate -}}
{{- if not (get $.Values.tls $name).clientCaSecret -}}
{{- fail (printf "tls.%s.clientCaSecret is empty: config.access.key_and_certificate demands certificates of its callers" $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.test.enabled (has "grpc" $config.access.key_and_certificate) (not .Values.tls.client.certSecret) -}}
{{- fail "tls.client.certSecret is empty: config.access.key_and_certificate demands a certificate of the test, too" -}}
{{- end -}}
{{- if not (or $config.access.required $config.access.insecure) -}}
{{- fail "config.access.required is false, so everyone who reaches the pods could pay: set it, or set config.access.insecure" -}}
{{- end -}}
{{- if not (or .Values.networkPolicy.enabled $config.access.insecure_admin) -}}
{{- fail "networkPolicy.enabled is false, so everyone who reaches the pods could read metrics and health: set it, or set config.access.insecure_admin" -}}
{{- end -}}
{{- range $name := list "grpc" "posHttp" "operators" -}}
{{- $tls := get $.Values.tls $name -}}
{{- if and $tls.clientCaSecret (not $tls.secret) -}}
{{- fail (printf "tls.%s.secret is empty, so tls.%s.clientCaSecret would have no effect: set both, or none" $name $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "wallet" "fisc" "client" -}}
{{- $tls := get $.Values.tls $name -}}
{{- if and (or $tls.certSecret $tls.serverName) (not $tls.caSecret) -}}
{{- fail (printf "tls.%s.caSecret is empty, so the connections would be plain text: set it, or neither certSecret nor serverName" $name) -}}
{{- end -}}
{{- end -}}
{{- if ne (hasPrefix "https://" $config.telemetry.endpoint) (ne .Values.tls.telemetry.caSecret "") -}}
{{- fail "config.telemetry.endpoint must begin with https:// if tls.telemetry.caSecret has the authority of the collector, and only then" -}}
{{- end -}}
{{- $ports := values .Values.ports | join "," | splitList "," -}}
{{- if ne (len $ports) (len (uniq $ports)) -}}
{{- fail "ports: each listener needs a port of its own" -}}
{{- end -}}
{{- if and .Values.simulator.enabled (eq (int .Values.simulator.walletPort) (int .Values.simulator.fiscPort)) -}}
{{- fail "simulator.walletPort and simulator.fiscPort are the same: each needs a port of its own" -}}
{{- end -}}
{{- if and .Values.strimzi.enabled (gt (int $config.kafka.replication) (int .Values.strimzi.nodes)) -}}
{{- fail (printf "config.kafka.replication is %d, above the %d nodes of strimzi.nodes: no topic could be created" (int $config.kafka.replication) (int .Values.strimzi.nodes)) -}}
{{- end -}}
{{- $least := add (divf (int $config.drain_delay_ms) 1000 | ceil | int) 25 -}}
{{- if lt (int .Values.pod.terminationGracePeriodSeconds) (int $least) -}}
{{- fail (printf "pod.terminationGracePeriodSeconds must be %d or more: config.drain_delay_ms, up to 14 s of drain, and time to end" $least) -}}
{{- end -}}
{{- range $name, $workload := include "twqr.workloads" . | fromYaml -}}
{{- $values := get $.Values $workload.key -}}
{{- $scaler := include "twqr.autoscaler" (dict "values" $values) -}}
{{- if $workload.bound -}}
{{- $bound := int (include "twqr.bound" (dict "root" $ "workload" $workload)) -}}
{{- if ne $scaler "none" -}}
{{- if gt (int $values.autoscaling.max) $bound -}}
{{- fail (printf "%s.autoscaling.max is %d, above the %d partitions (%s): further pods would have nothing to do" $workload.key (int $values.autoscaling.max) $bound $workload.bound) -}}
{{- end -}}
{{- if not (dig "requests" "cpu" "" (default (dict) $values.resources)) -}}
{{- fail (printf "%s.resources.requests.cpu is not set: an autoscaler compares the use of CPU with it" $workload.key) -}}
{{- end -}}
{{- if gt (int $values.autoscaling.min) (int $values.autoscaling.max) -}}
{{- fail (printf "%s.autoscaling.min is above max" $workload.key) -}}
{{- end -}}
{{- else if and (eq $workload.bound "replies_partitions") (gt (int $values.replicas) $bound) -}}
{{- fail (printf "%s.replicas is %d, above config.kafka.replies_partitions (%d): each ingress needs a partition of its own" $workload.key (int $values.replicas) $bound) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
