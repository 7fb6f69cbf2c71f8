{{- /* From the values to the configuration that a service reads, and to the Secrets that it names. */}}

{{- /* `config` as YAML, as it is meant: without keys that are null, which an overlay writes to take one away (a stream of
null has its defaults), and without a token that the mechanism does not use. */}}
{{- define "headrace.given" -}}
{{- $config := deepCopy (default dict .Values.config) -}}
{{- range $name, $stream := default dict $config.streams -}}
{{- if kindIs "invalid" $stream }}{{ $_ := set $config.streams $name dict }}{{ end -}}
{{- end -}}
{{- include "headrace.withoutNulls" $config -}}
{{- $sasl := dig "kafka" "sasl" dict $config -}}
{{- if ne (default "PLAIN" $sasl.mechanism) "OAUTHBEARER" }}{{ $_ := unset $sasl "token" }}{{ end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* Takes keys that are null out of a mapping, however deep. */}}
{{- define "headrace.withoutNulls" -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $ $key -}}
{{- else if kindIs "map" $value -}}
{{- include "headrace.withoutNulls" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The connections as YAML: {mqtt: {config: {...}, secret: NAME, items: {file: key}, tls: NAME, tlsItems: {...}}, ...}.
`config` is what goes into headrace.yaml; secret and tls are mounted under /run/secrets/headrace. */}}
{{- define "headrace.connections" -}}
{{- $v := .Values -}}
{{- $name := include "headrace.fullname" . -}}
{{- $generated := default (printf "%s-bundled" $name) $v.bundled.existingSecret -}}
{{- $config := include "headrace.given" . | fromYaml -}}
{{- $out := dict -}}
{{- range $part := list "mqtt" "kafka" "registry" "store" -}}
{{- $own := get $v $part -}}
{{- $c := default dict (get $config $part) -}}
{{- $secret := $own.existingSecret -}}
{{- $items := dict "password" (default "" $own.passwordKey) -}}
{{- $azure := and (eq $part "store") (eq (default "s3" $c.kind) "azure") -}}
{{- if $azure -}}
{{- $items = dict "account-key" $own.accountKeyKey -}}
{{- else if eq $part "store" -}}
{{- $items = dict "access-key" $own.accessKeyKey "secret-key" $own.secretKeyKey -}}
{{- end -}}
{{- $bearer := and (eq $part "kafka") (hasKey (default dict $c.sasl) "token") -}}
{{- if $bearer }}{{ $items = dict "client-secret" $own.passwordKey }}{{ end -}}
{{- $tls := $own.tls.existingSecret -}}
{{- $tlsItems := dict -}}
{{- range $file, $key := dict "ca.crt" $own.tls.caKey "tls.crt" $own.tls.certKey "tls.key" $own.tls.keyKey -}}
{{- if $key }}{{ $_ := set $tlsItems $file $key }}{{ end -}}
{{- end -}}
{{- if $own.tls.certManager -}}
{{- $tls = printf "%s-%s-client" $name $part -}}
{{- $tlsItems = dict "ca.crt" "ca.crt" "tls.crt" "tls.crt" "tls.key" "tls.key" -}}
{{- end -}}
{{- if and (eq $part "mqtt") $v.bundled.mosquitto.enabled -}}
{{- $c = merge $c (dict "host" (printf "%s-mosquitto" $name) "port" 1884 "username" "headrace" "devices" (dict "host" (printf "%s-mosquitto" $name) "port" 1883)) -}}
{{- $secret = $generated -}}
{{- $items = dict "password" "mqtt-password" -}}
{{- else if and (eq $part "kafka") $v.bundled.kafka.enabled -}}
{{- $c = merge $c (dict "bootstrap" (printf "%s-kafka:9092" $name) "sasl" (dict "mechanism" "PLAIN" "username" "headrace")) -}}
{{- $secret = $generated -}}
{{- $items = dict "password" "kafka-password" -}}
{{- else if and (eq $part "kafka") $v.strimzi.enabled -}}
{{- $sasl := dict "mechanism" "SCRAM-SHA-512" "username" $name -}}
{{- $c = merge $c (dict "bootstrap" (printf "%s-kafka-bootstrap.%s.svc:9093" $name $.Release.Namespace) "sasl" $sasl) -}}
{{- $c = merge $c (dict "replication_factor" (min 3 $v.strimzi.replicas | int) "min_insync_replicas" (min 2 $v.strimzi.replicas | int)) -}}
{{- $secret = $name -}}
{{- $items = dict "password" "password" -}}
{{- $tls = printf "%s-cluster-ca-cert" $name -}}
{{- $tlsItems = dict "ca.crt" "ca.crt" -}}
{{- else if and (eq $part "registry") $v.bundled.registry.enabled -}}
{{- $c = merge $c (dict "url" (printf "http://%s-registry:8080/apis/ccompat/v7" $name) "username" "headrace") -}}
{{- $secret = $generated -}}
{{- $items = dict "password" "registry-password" -}}
{{- else if and (eq $part "store") $v.bundled.store.enabled -}}
{{- $c = merge $c (dict "endpoint" (printf "%s-store:8333" $name) "sse" (dict "kind" "s3")) -}}
{{- $secret = $generated -}}
{{- $items = dict "access-key" "store-access-key" "secret-key" "store-secret-key" -}}
{{- $tls = $generated -}}
{{- $tlsItems = dict "ca.crt" "store-ca.pem" -}}
{{- end -}}
{{- $folder := printf "/run/secrets/headrace/%s" $part -}}
{{- if $secret -}}
{{- if $azure -}}
{{- $_ := set $c "azure" (merge (default dict $c.azure) (dict "account_key_file" (printf "%s/account-key" $folder))) -}}
{{- else if eq $part "store" -}}
{{- $c = merge $c (dict "access_key_file" (printf "%s/access-key" $folder) "secret_key_file" (printf "%s/secret-key" $folder)) -}}
{{- else if $bearer -}}
{{- $_ := set $c.sasl "token" (merge $c.sasl.token (dict "client_secret_file" (printf "%s/client-secret" $folder))) -}}
{{- else if eq $part "kafka" -}}
{{- $_ := set $c "sasl" (merge (default dict $c.sasl) (dict "password_file" (printf "%s/password" $folder))) -}}
{{- else -}}
{{- $_ := set $c "password_file" (printf "%s/password" $folder) -}}
{{- end -}}
{{- end -}}
{{- if $tls -}}
{{- $t := dict "enabled" true -}}
{{- range $file, $setting := dict "ca.crt" "ca_file" "tls.crt" "cert_file" "tls.key" "key_file" -}}
{{- if hasKey $tlsItems $file }}{{ $_ := set $t $setting (printf "%s-tls/%s" $folder $file) }}{{ end -}}
{{- end -}}
{{- $_ := set $c "tls" (merge (default dict $c.tls) $t) -}}
{{- end -}}
{{- $_ := set $out $part (dict "config" $c "secret" $secret "items" $items "tls" $tls "tlsItems" $tlsItems) -}}
{{- end -}}
{{- toYaml $out -}}
{{- end -}}

{{- /* Which connections a role has: it gets no other secret. */}}
{{- define "headrace.parts" -}}
{{- get (dict
  "bridge" "mqtt kafka registry store" "broker-metrics" "mqtt" "clean" "kafka registry store" "archive" "kafka registry store" "derive" "kafka registry store" "compact" "store"
  "ingest" "kafka registry store" "hub" "kafka registry" "topics" "kafka" "contracts" "registry" "bucket" "store" "tools" "mqtt kafka registry store"
  "mosquitto" "") . -}}
{{- end -}}

{{- /* dict root, role: headrace.yaml of a role, with what it reads and no more: a change to another service's section, or
to a route, replaces no pod of this one. */}}
{{- define "headrace.config" -}}
{{- $v := .root.Values -}}
{{- $config := include "headrace.given" .root | fromYaml -}}
{{- $connections := include "headrace.connections" .root | fromYaml -}}
{{- $out := dict -}}
{{- range splitList " " (include "headrace.parts" .role) | compact -}}
{{- $_ := set $out . (get $connections .).config -}}
{{- end -}}
{{- $sections := get (dict
  "bridge" (list "streams" "dead_letters" "max_message_bytes" "contracts" "bridge")
  "ingest" (list "streams" "dead_letters" "max_message_bytes" "contracts" "bridge" "ingest")
  "broker-metrics" (list)
  "clean" (list "streams" "dead_letters" "max_message_bytes" "clean")
  "derive" (list "streams" "dead_letters" "max_message_bytes" "derive")
  "archive" (list "streams" "dead_letters" "max_message_bytes" "archive")
  "compact" (list "streams" "compact")
  "hub" (list "streams" "contracts" "hub")
  "topics" (list "streams" "dead_letters" "max_message_bytes")
  "contracts" (list "streams" "contracts")
  "bucket" (list)
  "mosquitto" (list "streams" "bridge")
  "tools" (list "streams" "dead_letters" "max_message_bytes" "contracts" "bridge" "clean" "derive" "archive" "compact")) .role -}}
{{- range $sections -}}
{{- if hasKey $config . }}{{ $_ := set $out . (get $config .) }}{{ end -}}
{{- end -}}
{{- if and $v.hub.enabled $out.streams (not (has .role (list "bridge" "ingest" "mosquitto"))) -}}
{{- $_ := set $out "streams" (merge $out.streams (include "headrace.hubStreams" .root | fromYaml)) -}}
{{- end -}}
{{- if and $out.streams (has .role (list "clean" "derive" "archive" "compact" "topics")) -}}
{{- $streams := dict -}}
{{- range $name, $stream := $out.streams }}{{ $_ := set $streams $name (omit (default dict $stream) "routes") }}{{ end -}}
{{- $_ := set $out "streams" $streams -}}
{{- end -}}
{{- /* Clean runs the transforms of streams that are not made of another, derive those of the others. */ -}}
{{- if and $out.streams (ne .role "tools") -}}
{{- $runs := get (dict "clean" "own" "derive" "derived") .role -}}
{{- $streams := dict -}}
{{- range $name, $stream := $out.streams -}}
{{- $stream = default dict $stream -}}
{{- $kept := eq $runs (empty $stream.from | ternary "own" "derived") -}}
{{- $_ := set $streams $name ($kept | ternary $stream (omit $stream "transform")) -}}
{{- end -}}
{{- $_ := set $out "streams" $streams -}}
{{- end -}}
{{- if and (has "contracts" $sections) (include "headrace.files" (dict "root" .root "kind" "contracts")) -}}
{{- $_ := set $out "contracts" (prepend (default list $out.contracts) "/etc/headrace/contracts") -}}
{{- end -}}
{{- range list "bridge" "ingest" "clean" "derive" "archive" "compact" -}}
{{- if has . $sections -}}
{{- $http := dict "host" "0.0.0.0" "port" (include "headrace.port" (dict "root" $.root "service" .) | int) "token_file" "/run/secrets/headrace/metrics/token" -}}
{{- $section := default dict (get $out .) -}}
{{- $_ := set $section "http" (merge (default dict $section.http) $http) -}}
{{- /* Nothing listens in the pods of the tools: to `verify`, port 0 says that the bridge can't be asked. */ -}}
{{- if eq $.role "tools" }}{{ $_ := set $section "http" (dict "port" 0) }}{{ end -}}
{{- $_ := set $out . $section -}}
{{- end -}}
{{- end -}}
{{- if eq .role "mosquitto" }}{{ $_ := unset $out.bridge "http" }}{{ end -}}
{{- $archive := pick (dig "archive" dict $config) "topics" "compression_level" -}}
{{- if and (eq .role "compact") $archive }}{{ $_ := set $out "archive" $archive }}{{ end -}}
{{- if eq .role "ingest" -}}
{{- $_ := set $out "bridge" (pick $out.bridge "unrouted" "receipts") -}}
{{- $_ := set $out "ingest" (merge (dict "host" "0.0.0.0" "port" 8091) $out.ingest) -}}
{{- $_ := set $out "hub" (dict "url" (printf "http://%s-hub:8090" (include "headrace.fullname" .root)) "token_file" "/run/secrets/headrace/hub/broker-token") -}}
{{- end -}}
{{- if eq .role "mosquitto" -}}
{{- $hub := dict "url" (printf "http://%s-hub:8090" (include "headrace.fullname" .root)) "token_file" "/run/secrets/hub/broker-token" -}}
{{- with dig "hub" "behaviour" dict $config }}{{ $_ := set $hub "behaviour" . }}{{ end -}}
{{- $_ := set $out "hub" $hub -}}
{{- $_ := set $out "mqtt" (dict "host" "127.0.0.1" "port" 1884 "username" "headrace" "password_file" "/run/secrets/bundled/mqtt-password") -}}
{{- end -}}
{{- if eq .role "hub" -}}
{{- /* For devices that enrol: where the broker takes certificates. Their topics come from the routes. */ -}}
{{- with dig "mqtt" "devices" dict $config }}{{ $_ := set $out "mqtt" (dict "devices" (pick . "certificates")) }}{{ end -}}
{{- $hub := default dict $out.hub -}}
{{- $_ := set $hub "serve" (merge (include "headrace.hubServe" .root | fromYaml) (default dict $hub.serve)) -}}
{{- $_ := set $out "hub" $hub -}}
{{- end -}}
{{- toYaml $out -}}
{{- end -}}

{{- /* The streams in which hub tells what happens, as they are where the values say nothing of them. */}}
{{- define "headrace.hubStreams" -}}
{{- $streams := dict -}}
{{- if .Values.hub.enabled -}}
{{- $streams = dict "device_events" (dict "partitions" 1) "device_audit" (dict "partitions" 1) -}}
{{- end -}}
{{- toYaml $streams -}}
{{- end -}}

{{- /* All streams, as YAML: those given, hub's, and those of files with the stream of uploads that they are made of. */}}
{{- define "headrace.allStreams" -}}
{{- $config := include "headrace.given" . | fromYaml -}}
{{- $streams := merge (default dict $config.streams) (include "headrace.hubStreams" . | fromYaml) -}}
{{- $files := dict -}}
{{- range $name, $of := $streams -}}
{{- if (default dict $of).files }}{{ $_ := set $files (printf "%s_files" $name) (dict "from" "uploads" "retention_hours" (default 168 $of.retention_hours)) }}{{ end -}}
{{- end -}}
{{- if $files }}{{ $_ := set $files "uploads" dict }}{{ end -}}
{{- toYaml (merge $streams $files) -}}
{{- end -}}

{{- /* The Secret with the authority of the devices' certificates; nothing where there is none. */}}
{{- define "headrace.devicesCa" -}}
{{- $ca := .Values.hub.devicesCa -}}
{{- $ca.certManager | ternary (printf "%s-devices-ca" (include "headrace.fullname" .)) $ca.existingSecret -}}
{{- end -}}

{{- /* What hub itself is told, but for what `config.hub.serve` says besides. */}}
{{- define "headrace.hubServe" -}}
{{- $v := .Values.hub -}}
{{- $folder := "/run/secrets/headrace/hub" -}}
{{- $name := printf "%s-hub" (include "headrace.fullname" .) -}}
{{- $own := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) -}}
{{- if $v.ingress.enabled }}{{ $own = append $own $v.ingress.host }}{{ end -}}
{{- $hosts := concat $own (include "headrace.given" . | fromYaml | dig "hub" "serve" "hosts" list) | uniq -}}
{{- $serve := dict "host" "0.0.0.0" "port" 8090 "hosts" $hosts -}}
{{- $_ := set $serve "admin_token_file" (printf "%s/admin-token" $folder) -}}
{{- $_ := set $serve "broker_token_file" (printf "%s/broker-token" $folder) -}}
{{- if $v.database.existingSecret -}}
{{- $_ := set $serve "database_file" (printf "%s/database" $folder) -}}
{{- else -}}
{{- $_ := set $serve "database" "sqlite:////var/lib/headrace/hub.sqlite" -}}
{{- end -}}
{{- if include "headrace.devicesCa" . -}}
{{- $ca := "/run/secrets/headrace/devices-ca" -}}
{{- $_ := set $serve "devices_ca" (dict "cert_file" (printf "%s/tls.crt" $ca) "key_file" (printf "%s/tls.key" $ca)) -}}
{{- end -}}
{{- $_ := set $serve "http" (dict "host" "0.0.0.0" "port" 8080 "token_file" "/run/secrets/headrace/metrics/token") -}}
{{- $watch := dict "hub" "http://127.0.0.1:8080" -}}
{{- range prepend (splitList " " (include "headrace.processors" .)) "bridge" -}}
{{- $_ := set $watch . (printf "http://%s-%s:%s" (include "headrace.fullname" $) . (include "headrace.port" (dict "root" $ "service" .))) -}}
{{- end -}}
{{- if include "headrace.ingest" . -}}
{{- $_ := set $watch "ingest" (printf "http://%s-ingest-pods:%s" (include "headrace.fullname" .) (include "headrace.port" (dict "root" . "service" "ingest"))) -}}
{{- end -}}
{{- $_ := set $serve "watch" $watch -}}
{{- toYaml $serve -}}
{{- end -}}

{{- /* Not empty where POST /readings is served: hub knows the passwords. */}}
{{- define "headrace.ingest" -}}
{{- if and .Values.ingest.enabled .Values.hub.enabled }}true{{ end -}}
{{- end -}}

{{- /* The streams that derive makes, as YAML: {name: the stream that it is made of}; nothing where there are none. */}}
{{- define "headrace.derived" -}}
{{- $config := include "headrace.given" . | fromYaml -}}
{{- $streams := include "headrace.allStreams" . | fromYaml -}}
{{- $out := dict -}}
{{- range $name := default (keys $streams) (dig "derive" "streams" list $config) -}}
{{- with (default dict (get $streams $name)).from }}{{ $_ := set $out $name . }}{{ end -}}
{{- end -}}
{{- with $out }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* The processors that run, parted by spaces: derive only where a stream is made of another. */}}
{{- define "headrace.processors" -}}
clean{{ if include "headrace.derived" . }} derive{{ end }} archive{{ if .Values.compact.enabled }} compact{{ end }}
{{- end -}}

{{- /* dict root, service: the port of /livez, /readyz and /metrics. */}}
{{- define "headrace.port" -}}
{{- include "headrace.given" .root | fromYaml | dig .service "http" "port" 8080 | int -}}
{{- end -}}

{{- /* dict root, kind (contracts, transforms or formats): the ConfigMap with the user's own files; nothing where there
is none. They are at /etc/headrace/KIND. */}}
{{- define "headrace.files" -}}
{{- $own := get .root.Values .kind -}}
{{- if $own.existingConfigMap -}}
{{- $own.existingConfigMap -}}
{{- else if $own.files -}}
{{- include "headrace.fullname" .root }}-{{ .kind }}
{{- end -}}
{{- end -}}

{{- /* dict streams, name: the partitions of the stream's topics: its own, or those of the stream that it is made of. */}}
{{- define "headrace.partitionsOf" -}}
{{- $at := .name -}}
{{- range .streams -}}
{{- $of := default dict (get $.streams $at) -}}
{{- if and (not $of.partitions) $of.from }}{{ $at = $of.from }}{{ end -}}
{{- end -}}
{{- int (default 3 (get (default dict (get .streams $at)) "partitions")) -}}
{{- end -}}

{{- /* dict root, service: pods that can have something to do. 0: not known. Clean shares out each stream's partitions by
`range`, and derive has a group for each: so their widest stream counts; the archive shares out all partitions together. */}}
{{- define "headrace.partitions" -}}
{{- $config := include "headrace.given" .root | fromYaml -}}
{{- $streams := include "headrace.allStreams" .root | fromYaml -}}
{{- $most := 0 -}}
{{- if ne .service "archive" -}}
{{- $names := default (keys $streams) (dig "clean" "streams" list $config) -}}
{{- if eq .service "derive" }}{{ $names = include "headrace.derived" .root | fromYaml | keys }}{{ end -}}
{{- range $name := $names -}}
{{- $most = max $most (include "headrace.partitionsOf" (dict "streams" $streams "name" $name) | int) -}}
{{- end -}}
{{- else if dig "archive" "topics" list $config -}}
{{- $known := true -}}
{{- range $topic := $config.archive.topics -}}
{{- $stream := regexReplaceAll "[.](raw|clean)$" $topic "" -}}
{{- if hasKey $streams $stream -}}
{{- $most = add $most (include "headrace.partitionsOf" (dict "streams" $streams "name" $stream) | int) -}}
{{- else -}}
{{- $known = false -}}
{{- end -}}
{{- end -}}
{{- if not $known }}{{ $most = 0 }}{{ end -}}
{{- else -}}
{{- range $name := keys $streams -}}
{{- $most = add $most (include "headrace.partitionsOf" (dict "streams" $streams "name" $name) | int) -}}
{{- end -}}
{{- end -}}
{{- $most -}}
{{- end -}}

{{- /* dict root, service: the seconds that ending takes at most. */}}
{{- define "headrace.leastGrace" -}}
{{- $config := include "headrace.given" .root | fromYaml -}}
{{- if eq .service "bridge" -}}
{{- dig "bridge" "leave" false $config | ternary 45 30 -}}
{{- else if eq .service "ingest" -}}
30
{{- else if has .service (list "clean" "derive" "hub") -}}
40
{{- else -}}
{{- add (ceil (dig "store" "timeout_seconds" 30 $config)) 20 -}}
{{- end -}}
{{- end -}}

{{- /* dict root, service, of: what is told to Kubernetes. */}}
{{- define "headrace.grace" -}}
{{- if kindIs "invalid" .of.terminationGracePeriodSeconds -}}
{{- include "headrace.leastGrace" . -}}
{{- else -}}
{{- int .of.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}
