{{- define "twqr.topicsJob" -}}
backoffLimit: {{ int .root.Values.topics.backoffLimit }}
template:
  metadata:
    {{- include "twqr.podMetadata" (dict "root" .root "component" "topics" "annotations" (dict "twqr/config" (sha256sum .config))) | nindent 4 }}
  spec:
    {{- include "twqr.podSettings" .root | nindent 4 }}
    restartPolicy: Never
    containers:
      - name: topics
        image: {{ include "twqr.image" (dict "root" .root "of" "product") }}
        imagePullPolicy: {{ .root.Values.image.pullPolicy }}
        args: [--config, /etc/twqr/twqr.toml, topics, apply]
        {{- include "twqr.environment" (dict "root" .root) | nindent 8 }}
        resources:
          {{- toYaml .root.Values.topics.resources | nindent 10 }}
        securityContext:
          {{- include "twqr.containerSecurity" . | nindent 10 }}
        volumeMounts:
          {{- include "twqr.mounts" (dict "root" .root "runs" (list "topics")) | nindent 10 }}
    volumes:
      {{- include "twqr.volumes" (dict "root" .root "runs" (list "topics") "configMap" .configMap) | nindent 6 }}
{{- end }}
