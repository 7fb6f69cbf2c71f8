{{- /* What the bundled servers have in common. dict root, component, ports ({name: number}), persistence; optional:
open (names of the ports that everybody may use), inner (names of ports for Headrace alone), besides (further ports for
Headrace alone, which are not in the Service), from (further peers for the others), egress (a port). */}}
{{- define "headrace.bundledAround" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "headrace.metadata" . | nindent 2 }}
spec:
  selector:
    {{- include "headrace.selector" . | nindent 4 }}
  ports:
    {{- range $port, $number := .ports }}
    - {name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }}, protocol: TCP}
    {{- end }}
{{- if .persistence.enabled }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "headrace.metadata" . | nindent 2 }}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: {{ .persistence.size }}}}
  {{- with .persistence.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
{{- end }}
{{- if .root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "headrace.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "headrace.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        {{- range .ports }}
        - {protocol: TCP, port: {{ . }}}
        {{- end }}
        {{- range .besides }}
        - {protocol: TCP, port: {{ . }}}
        {{- end }}
      from:
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
              app.kubernetes.io/instance: {{ .root.Release.Name }}
    {{- if .from }}
    - ports:
        {{- range $port, $number := .ports }}
        {{- if not (has $port (default list $.inner)) }}
        - {protocol: TCP, port: {{ $number }}}
        {{- end }}
        {{- end }}
      from:
        {{- toYaml .from | nindent 8 }}
    {{- end }}
    {{- if .open }}
    - ports:
        {{- range .open }}
        - {protocol: TCP, port: {{ get $.ports . }}}
        {{- end }}
    {{- end }}
  {{- if .egress }}
  egress:
    - ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
        - {protocol: TCP, port: {{ .egress }}}
  {{- else }}
  egress: []
  {{- end }}
{{- end }}
{{- end -}}

{{- /* dict root, component, user: the head of a bundled server's StatefulSet, up to its pod's containers. */}}
{{- define "headrace.bundledHead" -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "headrace.metadata" . | nindent 2 }}
spec:
  replicas: 1
  serviceName: {{ include "headrace.fullname" .root }}-{{ .component }}
  # Otherwise an upgrade would wait for ever for a pod that can't start, and not replace it.
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      {{- include "headrace.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "headrace.selector" . | nindent 8 }}
      {{- with .annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "headrace.fullname" .root }}-bundled
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ default 30 .grace }}
      securityContext:
        {{- include "headrace.podSecurity" .user | nindent 8 }}
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- $of := get .root.Values.bundled .component }}
      {{- with $of.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $of.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}

{{- /* dict root, component, persistence: the volume `data`. */}}
{{- define "headrace.bundledData" -}}
- name: data
  {{- if .persistence.enabled }}
  persistentVolumeClaim: {claimName: {{ include "headrace.fullname" .root }}-{{ .component }}}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}

{{- /* The Secret of the bundled servers. */}}
{{- define "headrace.bundledSecret" -}}
{{- default (printf "%s-bundled" (include "headrace.fullname" .)) .Values.bundled.existingSecret -}}
{{- end -}}

{{- /* dict root, container: an image of another project, as registry/repository:tag. */}}
{{- define "headrace.bundledImage" -}}
image: {{ .repository }}:{{ .tag }}
imagePullPolicy: IfNotPresent
{{- end -}}
