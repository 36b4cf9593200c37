{{/* What every container may not do: Pod Security `restricted`, and a read-only root. */}}
{{- define "twqr.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The settings that all pods share. */}}
{{- define "twqr.podSettings" -}}
{{- $pod := .Values.pod -}}
serviceAccountName: {{ include "twqr.serviceAccount" . }}
automountServiceAccountToken: false
# Variables of other services in the namespace could be taken for configuration.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- if $pod.fixedIds }}
  runAsUser: {{ int64 $pod.user }}
  runAsGroup: {{ int64 $pod.group }}
  fsGroup: {{ int64 $pod.group }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a pod. */}}
{{- define "twqr.podMetadata" -}}
labels:
  {{- include "twqr.selector" . | nindent 2 }}
  {{- with merge (dict) .root.Values.pod.labels .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.pod.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The environment of every container; `own` is that of one service. */}}
{{- define "twqr.environment" -}}
env:
  - name: TWQR_LOG
    value: {{ .root.Values.pod.log | quote }}
  {{- if .member }}
  # The pod's name: unique among the instances, and the same after a restart.
  - name: TWQR__MEMBER
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
  {{- with concat .root.Values.pod.extraEnv (default (list) .own) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.pod.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The files of a process that runs the services `runs`. */}}
{{- define "twqr.mounts" -}}
- name: config
  mountPath: /etc/twqr
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if include "twqr.kafkaFiles" . }}
- name: kafka
  mountPath: /etc/twqr/kafka
  readOnly: true
{{- end }}
{{- if and (has "ingress" .runs) (include "twqr.merchantKeys" .root) }}
- name: merchant-keys
  mountPath: /etc/twqr/merchant-keys
  readOnly: true
{{- end }}
{{- if and (include "twqr.cardKeys" .root) (include "twqr.usesCardKeys" .runs) }}
- name: card-keys
  mountPath: /etc/twqr/card-keys
  readOnly: true
{{- end }}
{{- range $part, $_ := include "twqr.tlsParts" (dict "root" .root "runs" .runs) | fromYaml }}
- name: tls-{{ $part | replace "_" "-" }}
  mountPath: /etc/twqr/tls/{{ $part }}
  readOnly: true
{{- end }}
{{- if .keeps }}
- name: data
  mountPath: /var/lib/twqr
{{- end }}
{{- with .root.Values.pod.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "twqr.volumes" -}}
- name: config
  configMap:
    name: {{ .configMap }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with include "twqr.kafkaFiles" . }}
- name: kafka
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if has "ingress" .runs }}
{{- with include "twqr.merchantKeys" .root }}
- name: merchant-keys
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: {{ $.root.Values.merchantKeys.key }}
        path: keys.toml
{{- end }}
{{- end }}
{{- if include "twqr.usesCardKeys" .runs }}
{{- with include "twqr.cardKeys" .root }}
# Without `items`: hourly keys come and go, and each is an entry of its own.
- name: card-keys
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- range $part, $tls := include "twqr.tlsParts" (dict "root" .root "runs" .runs) | fromYaml }}
- name: tls-{{ $part | replace "_" "-" }}
  projected:
    defaultMode: 0440
    sources:
      {{- include "twqr.tlsSources" $tls | trim | nindent 6 }}
{{- end }}
{{- with .root.Values.pod.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The certificates of a part with TLS, as sources of one folder. */}}
{{- define "twqr.tlsSources" }}
{{- with $authority := .caSecret | default .clientCaSecret }}
- secret:
    name: {{ $authority }}
    items:
      - key: {{ $.caKey | default $.clientCaKey }}
        path: ca.crt
{{- end }}
{{- with $own := .secret | default .certSecret }}
- secret:
    name: {{ $own }}
    items:
      - key: {{ $.certKey }}
        path: tls.crt
      - key: {{ $.privateKeyKey }}
        path: tls.key
{{- end }}
{{- end }}

{{/* The credentials for Kafka, of a process that runs the services `runs`, as sources of one folder;
empty: none. */}}
{{- define "twqr.kafkaFiles" -}}
{{- $kafka := include "twqr.kafka" . | fromYaml -}}
{{- if $kafka.bootstrap }}
{{- if and $kafka.tls $kafka.ca.secret }}
- secret:
    name: {{ $kafka.ca.secret }}
    items:
      - key: {{ $kafka.ca.key }}
        path: ca.crt
{{- end }}
{{- if and $kafka.tls $kafka.cert.secret }}
- secret:
    name: {{ $kafka.cert.secret }}
    items:
      - key: {{ $kafka.cert.cert }}
        path: client.crt
      - key: {{ $kafka.cert.key }}
        path: client.key
{{- end }}
{{- if $kafka.password.secret }}
- secret:
    name: {{ $kafka.password.secret }}
    items:
      - key: {{ $kafka.password.key }}
        path: password
{{- end }}
{{- end }}
{{- end }}
