{{- /* Names, labels, images. `root` is the chart's own context where a template takes a dict. */}}

{{- define "headrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* dict root, component: what selects the pods of one part, for ever the same. */}}
{{- define "headrace.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "headrace.labels" -}}
{{ include "headrace.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* dict root, component, suffix (of the name; optional): name, namespace and labels of an object. */}}
{{- define "headrace.metadata" -}}
name: {{ include "headrace.fullname" .root }}-{{ default .component .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "headrace.labels" . | nindent 2 }}
{{- end -}}

{{- /* dict root, of (the values of pods): their labels by the values; podLabels count before commonLabels. */}}
{{- define "headrace.podLabels" -}}
{{- merge dict (default dict .of.podLabels) (default dict .root.Values.commonLabels) | toYaml -}}
{{- end -}}

{{- /* dict root, image: the name of an image of Headrace's own. */}}
{{- define "headrace.image" -}}
{{- $tag := default (default .root.Chart.AppVersion .root.Values.image.tag) .image.tag -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{- /* dict root, component, of (the values of the service). */}}
{{- define "headrace.serviceAccount" -}}
{{- if .of.serviceAccount.create -}}
{{- default (printf "%s-%s" (include "headrace.fullname" .root) .component) .of.serviceAccount.name -}}
{{- else -}}
{{- default "default" .of.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* The Secret with the token for /metrics. */}}
{{- define "headrace.metricsSecret" -}}
{{- default (printf "%s-metrics" (include "headrace.fullname" .)) .Values.monitoring.existingSecret -}}
{{- end -}}

{{- /* What the pod security standard `restricted` asks of a container. */}}
{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end -}}

{{- /* And of a pod, with the user's number. */}}
{{- define "headrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* dict root, component, of (the values of the service): an Ingress to its port `api`, where they ask for one. */}}
{{- define "headrace.ingress" -}}
{{- $i := .of.ingress -}}
{{- if $i.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "headrace.metadata" . | nindent 2 }}
  {{- with $i.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $i.className }}
  ingressClassName: {{ . }}
  {{- end }}
  tls: [{hosts: [{{ $i.host | quote }}], secretName: {{ $i.tlsSecret }}}]
  rules:
    - host: {{ $i.host | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: {{ include "headrace.fullname" .root }}-{{ .component }}, port: {name: api}}}
{{- end }}
{{- end -}}
