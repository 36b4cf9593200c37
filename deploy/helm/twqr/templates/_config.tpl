{{/* The program that a process of the services `runs` is: it logs in to Kafka as the program's user. */}}
{{- define "twqr.program" -}}
{{- if gt (len .) 1 }}up{{ else }}{{ first . }}{{ end -}}
{{- end }}

{{/* How Kafka is reached by a process that runs the services `runs`: what the values say, or what
Strimzi and cert-manager make. */}}
{{- define "twqr.kafka" -}}
{{- $values := .root.Values -}}
{{- $auth := $values.kafkaAuth -}}
{{- $program := include "twqr.program" .runs -}}
{{- $full := include "twqr.fullname" .root -}}
{{- $kafka := dict "bootstrap" $values.config.kafka.bootstrap "tls" $auth.tls
    "ca" (dict "secret" $auth.caSecret "key" $auth.caKey)
    "cert" (dict "secret" ($auth.certSecret | replace "{}" $program) "cert" $auth.certKey "key" $auth.privateKeyKey)
    "sasl" $auth.saslMechanism "username" ($auth.username | replace "{}" $program)
    "password" (dict "secret" ($auth.passwordSecret | replace "{}" $program) "key" $auth.passwordKey) -}}
{{- if $values.strimzi.enabled -}}
{{- $scram := eq $values.strimzi.authentication "scram-sha-512" -}}
{{- $user := printf "%s-%s" $full $program -}}
{{- $kafka = dict "bootstrap" (printf "%s-kafka-bootstrap:9093" $full) "tls" true
    "ca" (dict "secret" (printf "%s-cluster-ca-cert" $full) "key" "ca.crt")
    "cert" (dict "secret" (ternary "" $user $scram) "cert" "user.crt" "key" "user.key")
    "sasl" (ternary "SCRAM-SHA-512" "" $scram) "username" (ternary $user "" $scram)
    "password" (dict "secret" (ternary $user "" $scram) "key" "password") -}}
{{- end -}}
{{- if $values.certManager.enabled -}}
{{- $_ := set $kafka "cert" (dict "secret" (printf "%s-kafka-client" $full) "cert" "tls.crt" "key" "tls.key") -}}
{{- end -}}
{{- if and $values.externalSecrets.enabled $values.externalSecrets.kafkaPassword -}}
{{- $_ := set $kafka "password" (dict "secret" (printf "%s-kafka-password" $full) "key" "password") -}}
{{- end -}}
{{- toYaml $kafka -}}
{{- end }}

{{/* The Secret with the merchants' keys; empty: none. */}}
{{- define "twqr.merchantKeys" -}}
{{- if and .Values.externalSecrets.enabled .Values.externalSecrets.merchantKeys -}}
{{- include "twqr.fullname" . }}-merchant-keys
{{- else -}}
{{- .Values.merchantKeys.secret -}}
{{- end -}}
{{- end }}

{{/* The Secret with the card keys; empty: none. */}}
{{- define "twqr.cardKeys" -}}
{{- if and .Values.externalSecrets.enabled .Values.externalSecrets.cardKeys -}}
{{- include "twqr.fullname" . }}-card-keys
{{- else -}}
{{- .Values.cardKeys.secret -}}
{{- end -}}
{{- end }}

{{/* Whether one of the services in the list protects or opens card tokens; empty: none. */}}
{{- define "twqr.usesCardKeys" -}}
{{- if or (has "ingress" .) (has "wallet-worker" .) (has "fisc-worker" .) -}}true{{- end -}}
{{- end }}

{{/* Where the workers reach `wallet` or `fisc`. */}}
{{- define "twqr.backend" -}}
{{- $values := .root.Values -}}
{{- $port := ternary $values.simulator.walletPort $values.simulator.fiscPort (eq .of "wallet") -}}
{{- if $values.simulator.enabled -}}
{{- printf "%s-simulator:%d" (include "twqr.fullname" .root) (int $port) -}}
{{- else -}}
{{- get $values.config .of -}}
{{- end -}}
{{- end }}

{{/* The parts with TLS of a process that runs the services `runs`: names in the configuration. */}}
{{- define "twqr.tlsParts" -}}
{{- $tls := .root.Values.tls -}}
{{- $parts := dict -}}
{{- if and (has "ingress" .runs) $tls.grpc.secret -}}{{- $_ := set $parts "grpc" $tls.grpc -}}{{- end -}}
{{- if and (has "ingress" .runs) $tls.posHttp.secret -}}{{- $_ := set $parts "pos_http" $tls.posHttp -}}{{- end -}}
{{- if and (has "tracker" .runs) $tls.operators.secret -}}{{- $_ := set $parts "operators" $tls.operators -}}{{- end -}}
{{- if and (not (has "topics" .runs)) $tls.admin.secret -}}{{- $_ := set $parts "admin" (pick $tls.admin "secret" "certKey" "privateKeyKey") -}}{{- end -}}
{{- if and (not (has "topics" .runs)) $tls.telemetry.caSecret -}}{{- $_ := set $parts "telemetry" $tls.telemetry -}}{{- end -}}
{{- if and (has "wallet-worker" .runs) $tls.wallet.caSecret -}}{{- $_ := set $parts "wallet" $tls.wallet -}}{{- end -}}
{{- if and (has "fisc-worker" .runs) $tls.fisc.caSecret -}}{{- $_ := set $parts "fisc" $tls.fisc -}}{{- end -}}
{{- toYaml $parts -}}
{{- end }}

{{/* The section `tls` of a process that runs the services `runs`. */}}
{{- define "twqr.tls" -}}
{{- range $part, $tls := include "twqr.tlsParts" . | fromYaml }}
{{- $folder := printf "/etc/twqr/tls/%s" $part }}

[tls.{{ $part }}]
{{- if hasKey $tls "caSecret" }}
ca_file = {{ printf "%s/ca.crt" $folder | toJson }}
{{- end }}
{{- if or $tls.secret $tls.certSecret }}
certificate_file = {{ printf "%s/tls.crt" $folder | toJson }}
key_file = {{ printf "%s/tls.key" $folder | toJson }}
{{- end }}
{{- if $tls.clientCaSecret }}
client_ca_file = {{ printf "%s/ca.crt" $folder | toJson }}
client_certificates = {{ toJson $tls.clientCertificates }}
{{- end }}
{{- with $tls.serverName }}
server_name = {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The configuration of a process that runs the services `runs`: the keys that it reads, and those
that it compares with others when it starts. `runs: [topics]` is `twqr topics apply`. */}}
{{- define "twqr.config" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $config := $values.config -}}
{{- $port := $values.ports -}}
{{- $listen := $values.listen -}}
{{- $kafka := include "twqr.kafka" . | fromYaml -}}
{{- $topics := has "topics" .runs -}}
{{- $ingress := has "ingress" .runs -}}
{{- $router := has "router" .runs -}}
shards = {{ int64 $config.shards }}
{{- if or $topics (not $kafka.bootstrap) }}
task_partitions = {{ int64 $config.task_partitions }}
{{- end }}
{{- if not $topics }}
admin = {{ printf "%s:%d" $listen (int $port.admin) | toJson }}
# All services compare these with one another and with the policy.
answer_within_ms = {{ int64 $config.answer_within_ms }}
call_timeout_ms = {{ int64 $config.call_timeout_ms }}
clock_skew_max_ms = {{ int64 $config.clock_skew_max_ms }}
drain_delay_ms = {{ int64 $config.drain_delay_ms }}
{{- with .threads }}
worker_threads = {{ int64 . }}
{{- end }}
{{- if .keeps }}
data_dir = "/var/lib/twqr/data"
{{- end }}
{{- if and (include "twqr.cardKeys" $root) (include "twqr.usesCardKeys" .runs) }}
card_keys_dir = "/etc/twqr/card-keys"
{{- end }}
{{- if $ingress }}
grpc = {{ printf "%s:%d" $listen (int $port.grpc) | toJson }}
pos_http = {{ printf "%s:%d" $listen (int $port.posHttp) | toJson }}
signature_forms = {{ toJson $config.signature_forms }}
send_time_window_s = {{ int64 $config.send_time_window_s }}
{{- if include "twqr.merchantKeys" $root }}
merchant_keys_file = "/etc/twqr/merchant-keys/keys.toml"
{{- end }}
connection_age_s = {{ int64 $config.connection_age_s }}
calls_max = {{ int64 $config.calls_max }}
streams_max = {{ int64 $config.streams_max }}
stream_in_flight_max = {{ int64 $config.stream_in_flight_max }}
{{- end }}
{{- if $router }}
checkpoint_interval_ms = {{ int64 $config.checkpoint_interval_ms }}
standby = {{ $config.standby }}
{{- end }}
{{- if has "wallet-worker" .runs }}
wallet = {{ include "twqr.backend" (dict "root" $root "of" "wallet") | toJson }}
{{- end }}
{{- if has "fisc-worker" .runs }}
fisc = {{ include "twqr.backend" (dict "root" $root "of" "fisc") | toJson }}
{{- end }}
{{- if has "tracker" .runs }}
operators = {{ printf "%s:%d" $listen (int $port.operators) | toJson }}
{{- end }}
{{- if not $kafka.bootstrap }}
journal_retention_hours = {{ int64 $config.journal_retention_hours }}
{{- end }}
{{- end }}
{{- with $config.extra }}
{{ . | trim }}
{{- end }}
{{- if not $topics }}

[access]
{{- if $config.access.insecure_admin }}
# Probes and Prometheus show no credential; by the chart's values, the network protects admin.
{{- else }}
# Probes and Prometheus show no credential; the network policies say who reaches admin.
{{- end }}
insecure_admin = true
{{- end }}
{{- if or $ingress (has "tracker" .runs) }}
required = {{ $config.access.required }}
key_and_certificate = {{ $config.access.key_and_certificate | toJson }}
pos_http_required = {{ $config.access.pos_http_required }}
insecure = {{ $config.access.insecure }}
{{- with $config.access.callers }}

{{ . | trim }}
{{- end }}
{{- end }}
{{- if $ingress }}

[fairness]
caller_calls_per_s = {{ int64 $config.fairness.caller_calls_per_s }}
caller_calls_max = {{ int64 $config.fairness.caller_calls_max }}
caller_streams_max = {{ int64 $config.fairness.caller_streams_max }}
caller_watches_max = {{ int64 $config.fairness.caller_watches_max }}
merchant_calls_per_s = {{ int64 $config.fairness.merchant_calls_per_s }}
merchant_calls_max = {{ int64 $config.fairness.merchant_calls_max }}

[admission]
delay_ms = {{ int64 $config.admission.delay_ms }}
limit_min = {{ int64 $config.admission.limit_min }}
limit_max = {{ int64 $config.admission.limit_max }}
{{- end }}
{{- if and $config.telemetry.endpoint (not $topics) }}

[telemetry]
endpoint = {{ toJson $config.telemetry.endpoint }}
protocol = {{ toJson $config.telemetry.protocol }}
sample_ratio = {{ float64 $config.telemetry.sample_ratio }}
slow_ms = {{ int64 $config.telemetry.slow_ms }}
{{- end }}
{{- include "twqr.tls" . }}
{{- if $kafka.bootstrap }}

[kafka]
bootstrap = {{ $kafka.bootstrap | toJson }}
prefix = {{ $config.kafka.prefix | toJson }}
session_timeout_ms = {{ int64 $config.kafka.session_timeout_ms }}
append_timeout_ms = {{ int64 $config.kafka.append_timeout_ms }}
{{- if and $config.kafka.queue_mib (not $topics) }}
queue_mib = {{ int64 $config.kafka.queue_mib }}
{{- end }}
{{- if $topics }}
replies_partitions = {{ int64 $config.kafka.replies_partitions }}
replication = {{ int64 $config.kafka.replication }}
min_insync = {{ int64 $config.kafka.min_insync }}
retention_hours = {{ int64 $config.kafka.retention_hours }}
{{- end }}
{{- if $kafka.password.secret }}
password_file = "/etc/twqr/kafka/password"
{{- end }}

[kafka.properties]
{{- if or $kafka.tls $kafka.sasl }}
"security.protocol" = {{ printf "%s%s" (ternary "sasl_" "" (ne $kafka.sasl "")) (ternary "ssl" "plaintext" $kafka.tls) | toJson }}
{{- end }}
{{- with $kafka.sasl }}
"sasl.mechanism" = {{ . | toJson }}
{{- end }}
{{- with $kafka.username }}
"sasl.username" = {{ . | toJson }}
{{- end }}
{{- if and $kafka.tls $kafka.ca.secret }}
"ssl.ca.location" = "/etc/twqr/kafka/ca.crt"
{{- end }}
{{- if and $kafka.tls $kafka.cert.secret }}
"ssl.certificate.location" = "/etc/twqr/kafka/client.crt"
"ssl.key.location" = "/etc/twqr/kafka/client.key"
{{- end }}
{{- range $property, $value := $config.kafka.properties }}
{{ toJson $property }} = {{ toJson (toString $value) }}
{{- end }}
{{- end }}
{{- with $config.policy }}
{{- if not $topics }}

{{ . | trim }}
{{- end }}
{{- end }}
{{- end }}
