{{/* The prefix of all names. A pod's name is its member name, which has at most 60 characters. */}}
{{- define "twqr.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) .Values.fullnameOverride -}}
{{- $full | trunc 38 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the pods of a release; with a component, those of one service. */}}
{{- define "twqr.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Labels of an object. The versions are in no pod template, so that a release of the chart alone
restarts nothing. */}}
{{- define "twqr.labels" -}}
{{ include "twqr.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The metadata of an object: name, labels, annotations. */}}
{{- define "twqr.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "twqr.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An image by digest, or else by tag. */}}
{{- define "twqr.image" -}}
{{- $image := .root.Values.image -}}
{{- $repository := ternary $image.labRepository $image.repository (eq .of "lab") -}}
{{- $digest := ternary $image.labDigest $image.digest (eq .of "lab") -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $repository -}}
{{- if $digest }}@{{ $digest }}{{ else }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end -}}
{{- end }}

{{- define "twqr.serviceAccount" -}}
{{- default (ternary (include "twqr.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end }}

{{/* The workloads of the release: the name of each with its key in the values and the services that
its processes run. */}}
{{- define "twqr.workloads" -}}
{{- if eq .Values.mode "up" }}
up: {key: up, runs: [ingress, router, wallet-worker, fisc-worker, tracker], keeps: true, calls: true, operates: true}
{{- else }}
ingress: {key: ingress, runs: [ingress], keeps: false, calls: true, operates: false, bound: replies_partitions}
router: {key: router, runs: [router], keeps: true, calls: false, operates: false, bound: shards}
wallet-worker: {key: walletWorker, runs: [wallet-worker], keeps: false, calls: false, operates: false, bound: task_partitions}
fisc-worker: {key: fiscWorker, runs: [fisc-worker], keeps: false, calls: false, operates: false, bound: task_partitions}
tracker: {key: tracker, runs: [tracker], keeps: true, calls: false, operates: true}
{{- end }}
{{- end }}

{{/* The most pods of a workload that can work at once: the partitions that are there for it. */}}
{{- define "twqr.bound" -}}
{{- $config := .root.Values.config -}}
{{- if eq .workload.bound "replies_partitions" }}{{ int64 $config.kafka.replies_partitions }}{{ else }}{{ int64 (get $config .workload.bound) }}{{ end -}}
{{- end }}

{{/* The kind of autoscaler that owns a workload's replicas. */}}
{{- define "twqr.autoscaler" -}}
{{- if .values.autoscaling }}{{ .values.autoscaling.kind }}{{ else }}none{{ end -}}
{{- end }}
