{{/* Names and labels. */}}
{{- define "detector.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "detector.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "detector.labels" -}}
{{ include "detector.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "detector.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "detector.claim" -}}
{{ .Values.checkpoints.volume.existingClaim | default (printf "%s-checkpoints" (include "detector.name" .)) }}
{{- end }}

{{/* Most pods at a time. */}}
{{- define "detector.pods" -}}
{{ if .Values.autoscaling.enabled }}{{ .Values.autoscaling.max }}{{ else }}{{ .Values.replicas }}{{ end }}
{{- end }}

{{- define "detector.scheme" -}}
{{ if (.Values.config.http | default dict).tls }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{/* The configuration as the pods read it: that of the values, with what only the chart knows. */}}
{{- define "detector.config" -}}
{{- $http := .Values.config.http | default dict }}
{{- $protected := and $http.tls $http.token }}
{{- $pages := dict "address" "0.0.0.0:9464" "unprotected" (not $protected) }}
{{- $url := .Values.checkpoints.url | default "file:///var/lib/detector/checkpoints" }}
{{- $own := dict "http" $pages "checkpoints" (dict "url" $url) }}
{{- if .Values.notify.enabled }}
{{- $_ := set $own "notify" (dict "address" "0.0.0.0:9465") }}
{{- end }}
{{- mergeOverwrite (deepCopy .Values.config) $own | toYaml }}
{{- end }}

{{/* Refusals that the schema cannot express: they compare one value with another. */}}
{{- define "detector.check" -}}
{{- if gt (int (include "detector.pods" .)) (int .Values.partitions) }}
{{- fail (printf "%s pods, but the transactions topic has %v partitions: the others would idle. Lower `replicas` (or `autoscaling.max`), or correct `partitions`" (include "detector.pods" .) .Values.partitions) }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.min) (int .Values.autoscaling.max)) }}
{{- fail (printf "autoscaling.min is %v and autoscaling.max %v: the first is the larger" .Values.autoscaling.min .Values.autoscaling.max) }}
{{- end }}
{{- if and (gt (int (include "detector.pods" .)) 1) (not .Values.checkpoints.url) (not .Values.checkpoints.volume.existingClaim) (ne .Values.checkpoints.volume.accessMode "ReadWriteMany") }}
{{- fail (printf "%s pods need a store that all of them reach, and checkpoints.volume.accessMode is %s: set `checkpoints.url` (s3://bucket/prefix), or ReadWriteMany, or one replica" (include "detector.pods" .) .Values.checkpoints.volume.accessMode) }}
{{- end }}
{{- $http := .Values.config.http | default dict }}
{{- if and (not .Values.networkPolicy.enabled) (not (and $http.tls $http.token)) }}
{{- fail "without a NetworkPolicy the pages need `config.http.tls` and `config.http.token`" }}
{{- end }}
{{- if and .Values.notify.enabled (not (.Values.config.notify | default dict).receivers) }}
{{- fail "notify.enabled needs `config.notify.receivers`" }}
{{- end }}
{{- end }}

{{- define "detector.environment" -}}
{{- range $name, $secret := .Values.secrets }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}
{{- end }}
{{- end }}

{{- define "detector.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "detector.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "detector.mounts" -}}
- {name: config, mountPath: /etc/detector, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- range .Values.secretFiles }}
- {name: secret-{{ .name }}, mountPath: /etc/detector-secrets/{{ .name }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "detector.volumes" -}}
- name: config
  configMap: {name: {{ include "detector.name" . }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- range .Values.secretFiles }}
- name: secret-{{ .name }}
  secret: {secretName: {{ .name }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{/* Where pods of a component run. */}}
{{- define "detector.placement" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ if $.Values.spreadStrictly }}DoNotSchedule{{ else }}ScheduleAnyway{{ end }}
  labelSelector:
    matchLabels:
      {{- include "detector.selector" $ | nindent 6 }}
{{- end }}
{{- end }}

{{- define "detector.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the pods of both components have in common, but for their containers. */}}
{{- define "detector.podMetadata" -}}
labels:
  {{- include "detector.labels" . | nindent 2 }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # A changed configuration restarts the pods, one by one.
  detector/config: {{ include "detector.config" . | sha256sum }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "detector.podSpec" -}}
serviceAccountName: {{ include "detector.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  {{- include "detector.podSecurity" . | nindent 2 }}
topologySpreadConstraints:
  {{- include "detector.placement" . | trim | nindent 2 }}
{{- with include "detector.scheduling" . | trim }}
{{ . }}
{{- end }}
{{- end }}

{{- /* A file of the project whose links lead to `docs`. */}}
{{- define "detector.linked" -}}
{{- .files.Get .path | replace "https://docs.example.com/detector" .docs }}
{{- end }}
