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
