{{- /* The pod template of whatever runs an image of Headrace's own.
dict: root, role (whose configuration), component, of (values of the service), image, args; where it is not the image's:
command; and for services: env (YAML of a list), grace, service: true (probes and a port), ports (further ones, by name). Secrets and files are those of the role alone. */}}
{{- define "headrace.podTemplate" -}}
{{- $root := .root -}}
{{- $v := .root.Values -}}
{{- $of := .of -}}
{{- $connections := include "headrace.connections" .root | fromYaml -}}
{{- $parts := splitList " " (include "headrace.parts" .role) -}}
{{- $readers := dict "contracts" (list "bridge" "ingest" "contracts" "tools" "hub") "transforms" (list "clean" "derive" "tools") "formats" (list "bridge" "ingest" "tools") -}}
{{- $files := dict -}}
{{- $texts := list -}}
{{- range $kind, $roles := $readers -}}
{{- $map := include "headrace.files" (dict "root" $.root "kind" $kind) -}}
{{- if and $map (has $.role $roles) -}}
{{- $_ := set $files $kind $map -}}
{{- $texts = append $texts (get $v $kind) -}}
{{- end -}}
{{- end -}}
{{- $metrics := has .role (list "bridge" "ingest" "broker-metrics" "clean" "derive" "archive" "compact" "hub") -}}
{{- /* What is said of a connection goes to the pods that have it: half a connection would end the others. */ -}}
{{- $env := list -}}
{{- range $of.extraEnv -}}
{{- $part := regexFind "^(MQTT|KAFKA|REGISTRY|STORE)__" (trimPrefix "HEADRACE_" (upper .name)) | trimSuffix "__" | lower -}}
{{- if or (not (hasPrefix "HEADRACE_" (upper .name))) (not $part) (has $part $parts) }}{{ $env = append $env . }}{{ end -}}
{{- end -}}
{{- $secrets := list $v.secretsRevision -}}
{{- range $parts -}}
{{- $one := get $connections . -}}
{{- $secrets = append $secrets (dict "secret" $one.secret "items" $one.items "tls" $one.tls "tlsItems" $one.tlsItems) -}}
{{- end -}}
metadata:
  labels:
    {{- include "headrace.selector" (dict "root" $root "component" .component) | nindent 4 }}
    {{- with include "headrace.podLabels" (dict "root" $root "of" $of) | fromYaml }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ printf "%s%s" (include "headrace.config" (dict "root" $root "role" .role)) (toYaml $texts) | sha256sum }}
    checksum/secret: {{ toYaml $secrets | sha256sum }}
    {{- with $of.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "headrace.serviceAccount" (dict "root" $root "component" (default .component .account) "of" $of) }}
  automountServiceAccountToken: false
  # A Service called headrace would put HEADRACE_... variables into every pod, and they would be taken for settings.
  enableServiceLinks: false
  {{- if not .service }}
  restartPolicy: {{ default "OnFailure" .restartPolicy }}
  {{- end }}
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  securityContext:
    {{- include "headrace.podSecurity" 10001 | nindent 4 }}
  {{- with $v.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $of.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .service $v.topologySpread.keys }}
  topologySpreadConstraints:
    {{- range $v.topologySpread.keys }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $v.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "headrace.selector" (dict "root" $root "component" $.component) | nindent 10 }}
      {{- if eq $v.topologySpread.whenUnsatisfiable "DoNotSchedule" }}
      matchLabelKeys: [{{ eq $.component "bridge" | ternary "controller-revision-hash" "pod-template-hash" }}]
      {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "headrace.image" (dict "root" $root "image" .image) }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      {{- with .command }}
      command: {{ toJson . }}
      {{- end }}
      {{- with .args }}
      args: {{ toJson . }}
      {{- end }}
      securityContext:
        {{- include "headrace.containerSecurity" . | nindent 8 }}
      env:
        - {name: HEADRACE_CONFIG, value: /etc/headrace/headrace.yaml}
        - {name: HOME, value: /tmp}
        {{- with .env }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if .service }}
      ports:
        - {name: http, containerPort: {{ include "headrace.port" (dict "root" $root "service" .component) }}, protocol: TCP}
        {{- range $port, $number := .ports }}
        - {name: {{ $port }}, containerPort: {{ $number }}, protocol: TCP}
        {{- end }}
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 2
        timeoutSeconds: {{ $v.probes.timeoutSeconds }}
        failureThreshold: {{ max 1 (div $v.probes.startupSeconds 2) }}
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: {{ $v.probes.periodSeconds }}
        timeoutSeconds: {{ $v.probes.timeoutSeconds }}
        failureThreshold: {{ $v.probes.failureThreshold }}
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: {{ $v.probes.periodSeconds }}
        timeoutSeconds: {{ $v.probes.timeoutSeconds }}
        failureThreshold: {{ $v.probes.failureThreshold }}
      {{- end }}
      resources:
        {{- toYaml $of.resources | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/headrace/headrace.yaml, subPath: headrace.yaml, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- if $metrics }}
        - {name: metrics, mountPath: /run/secrets/headrace/metrics, readOnly: true}
        {{- end }}
        {{- range $kind, $_ := $files }}
        - {name: {{ $kind }}, mountPath: /etc/headrace/{{ $kind }}, readOnly: true}
        {{- end }}
        {{- range $parts }}
        {{- if (get $connections .).secret }}
        - {name: {{ . }}, mountPath: /run/secrets/headrace/{{ . }}, readOnly: true}
        {{- end }}
        {{- if (get $connections .).tls }}
        - {name: {{ . }}-tls, mountPath: /run/secrets/headrace/{{ . }}-tls, readOnly: true}
        {{- end }}
        {{- end }}
        {{- with $of.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "headrace.fullname" $root }}
        items: [{key: {{ .role }}.yaml, path: headrace.yaml}]
    - name: tmp
      emptyDir: {sizeLimit: {{ default "256Mi" $of.tmpSize }}}
    {{- if $metrics }}
    - name: metrics
      secret:
        secretName: {{ include "headrace.metricsSecret" $root }}
        defaultMode: 0440
        items: [{key: {{ $v.monitoring.tokenKey }}, path: token}]
    {{- end }}
    {{- range $kind, $map := $files }}
    - name: {{ $kind }}
      configMap: {name: {{ $map }}}
    {{- end }}
    {{- range $parts }}
    {{- $one := get $connections . }}
    {{- if $one.secret }}
    - name: {{ . }}
      secret:
        secretName: {{ $one.secret }}
        defaultMode: 0440
        items:
          {{- range $file, $key := $one.items }}
          - {key: {{ $key }}, path: {{ $file }}}
          {{- end }}
    {{- end }}
    {{- if $one.tls }}
    - name: {{ . }}-tls
      secret:
        secretName: {{ $one.tls }}
        defaultMode: 0440
        items:
          {{- range $file, $key := $one.tlsItems }}
          - {key: {{ $key }}, path: {{ $file }}}
          {{- end }}
    {{- end }}
    {{- end }}
    {{- with $of.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- /* dict root, component, role, of, image, args, env: a Job named by a checksum of all that its pod is. A Job can't be
changed, so what changes is another Job, and Helm removes the old one. */}}
{{- define "headrace.job" -}}
{{- $p := .root.Values.provision -}}
{{- $pod := include "headrace.podTemplate" . -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "headrace.metadata" (dict "root" .root "component" .component "suffix" (printf "%s-%s" (default .component .suffix) (sha256sum $pod | trunc 8))) | nindent 2 }}
spec:
  backoffLimit: {{ int $p.backoffLimit }}
  {{- if not (kindIs "invalid" $p.ttlSecondsAfterFinished) }}
  ttlSecondsAfterFinished: {{ int $p.ttlSecondsAfterFinished }}
  {{- end }}
  template:
    {{- $pod | nindent 4 }}
{{- end -}}
