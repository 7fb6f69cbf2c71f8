{{- /* What the schema can't see: every problem at once, in the values' own words. */}}
{{- define "headrace.check" -}}
{{- $v := .Values -}}
{{- $c := include "headrace.given" . | fromYaml -}}
{{- $p := list -}}
{{- $workload := list -}}
{{- $processors := splitList " " (include "headrace.processors" .) -}}
{{- if not $c.streams -}}
{{- $p = append $p "config.streams: give at least one stream, with the MQTT topics that feed it" -}}
{{- end -}}

{{- if $v.bundled.mosquitto.enabled -}}
{{- if dig "mqtt" "host" "" $c -}}
{{- $p = append $p "config.mqtt.host and bundled.mosquitto.enabled: which broker? Leave one out" -}}
{{- end -}}
{{- if $v.mqtt.existingSecret -}}
{{- $p = append $p "mqtt.existingSecret: the bundled Mosquitto has its password in bundled.existingSecret" -}}
{{- end -}}
{{- else -}}
{{- if not (dig "mqtt" "host" "" $c) -}}
{{- $p = append $p "config.mqtt.host: say where the MQTT broker is, or try bundled.mosquitto.enabled" -}}
{{- end -}}
{{- $let := or $v.mqtt.existingSecret (dig "mqtt" "password_file" "" $c) -}}
{{- if and (dig "mqtt" "username" "" $c) (not $let) -}}
{{- $p = append $p "mqtt.existingSecret: name the Secret with the password of config.mqtt.username" -}}
{{- end -}}
{{- if and $v.mqtt.existingSecret (not (dig "mqtt" "username" "" $c)) -}}
{{- $p = append $p "config.mqtt.username: whose password is in mqtt.existingSecret?" -}}
{{- end -}}
{{- $certificate := or $v.mqtt.tls.certKey $v.mqtt.tls.certManager (dig "mqtt" "tls" "cert_file" "" $c) -}}
{{- if not (or $let $certificate $v.mqtt.anonymous (dig "mqtt" "username" "" $c)) -}}
{{- $p = append $p "mqtt.existingSecret: how are we let in? Name a Secret with the password of config.mqtt.username, or a client certificate in mqtt.tls, or say mqtt.anonymous: true" -}}
{{- end -}}
{{- end -}}

{{- if and $v.bundled.kafka.enabled $v.strimzi.enabled -}}
{{- $p = append $p "bundled.kafka.enabled and strimzi.enabled: one Kafka or the other" -}}
{{- end -}}
{{- if or $v.bundled.kafka.enabled $v.strimzi.enabled -}}
{{- if dig "kafka" "bootstrap" "" $c -}}
{{- $p = append $p "config.kafka.bootstrap and a Kafka of the chart's own (bundled.kafka.enabled, strimzi.enabled): which one? Leave one out" -}}
{{- end -}}
{{- if $v.kafka.existingSecret -}}
{{- $p = append $p "kafka.existingSecret: the chart's own Kafka has its password in a Secret of its own (bundled.existingSecret, or Strimzi's)" -}}
{{- end -}}
{{- else -}}
{{- if not (dig "kafka" "bootstrap" "" $c) -}}
{{- $p = append $p "config.kafka.bootstrap: say where Kafka is, or try bundled.kafka.enabled" -}}
{{- end -}}
{{- $let := or $v.kafka.existingSecret (dig "kafka" "sasl" "password_file" "" $c) -}}
{{- $sasl := dig "kafka" "sasl" (dict) $c -}}
{{- $token := dig "token" (dict) $sasl -}}
{{- if $token -}}
{{- if and (eq $token.kind "oidc") (not (or $let $token.client_secret_file $token.client_assertion_file)) -}}
{{- $p = append $p "kafka.existingSecret: name the Secret with the client secret of config.kafka.sasl.token.client_id, its key in kafka.passwordKey; or give config.kafka.sasl.token.client_assertion_file" -}}
{{- end -}}
{{- if and $v.kafka.existingSecret (or (eq $token.kind "aws-msk-iam") $token.client_secret_file $token.client_assertion_file) -}}
{{- $p = append $p "kafka.existingSecret: config.kafka.sasl.token takes no secret, or names a file of its own. Leave one out" -}}
{{- end -}}
{{- else -}}
{{- if and $sasl (not $let) -}}
{{- $p = append $p "kafka.existingSecret: name the Secret with the password of config.kafka.sasl.username" -}}
{{- end -}}
{{- if and $v.kafka.existingSecret (not $sasl.username) -}}
{{- $p = append $p "config.kafka.sasl: give mechanism and username of the password in kafka.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- $certificate := or $v.kafka.tls.certKey $v.kafka.tls.certManager (dig "kafka" "tls" "cert_file" "" $c) -}}
{{- if not (or $let $certificate $v.kafka.anonymous $sasl) -}}
{{- $p = append $p "kafka.existingSecret: how are we let in? Give config.kafka.sasl and name the Secret with its password, or a client certificate in kafka.tls, or say kafka.anonymous: true" -}}
{{- end -}}
{{- end -}}

{{- if $v.bundled.registry.enabled -}}
{{- if dig "registry" "url" "" $c -}}
{{- $p = append $p "config.registry.url and bundled.registry.enabled: which registry? Leave one out" -}}
{{- end -}}
{{- if or $v.registry.existingSecret (dig "registry" "username" "" $c) -}}
{{- $p = append $p "registry.existingSecret, config.registry.username: the bundled registry has its user, and its password in bundled.existingSecret. Leave them out" -}}
{{- end -}}
{{- $pg := $v.bundled.registry.postgresql -}}
{{- if and $pg.url (not (and $pg.username $pg.existingSecret)) -}}
{{- $p = append $p "bundled.registry.postgresql: give username, and in existingSecret the Secret with its password" -}}
{{- end -}}
{{- else -}}
{{- if not (dig "registry" "url" "" $c) -}}
{{- $p = append $p "config.registry.url: say where the schema registry is, or try bundled.registry.enabled" -}}
{{- end -}}
{{- if and (dig "registry" "username" "" $c) (not (or $v.registry.existingSecret (dig "registry" "password_file" "" $c))) -}}
{{- $p = append $p "registry.existingSecret: name the Secret with the password of config.registry.username" -}}
{{- end -}}
{{- if and $v.registry.existingSecret (not (dig "registry" "username" "" $c)) -}}
{{- $p = append $p "config.registry.username: whose password is in registry.existingSecret?" -}}
{{- end -}}
{{- end -}}

{{- if $v.bundled.store.enabled -}}
{{- if dig "store" "endpoint" "" $c -}}
{{- $p = append $p "config.store.endpoint and bundled.store.enabled: which store? Leave one out" -}}
{{- end -}}
{{- if $v.store.existingSecret -}}
{{- $p = append $p "store.existingSecret: the bundled store has its keys in bundled.existingSecret" -}}
{{- end -}}
{{- else if eq (dig "store" "kind" "s3" $c) "azure" -}}
{{- $azure := dig "store" "azure" (dict) $c -}}
{{- if not (or $v.store.existingSecret $azure.account_key_file $azure.sas_token_file) -}}
{{- $workload = append $workload "config.store.azure" -}}
{{- end -}}
{{- else if eq (dig "store" "kind" "s3" $c) "s3" -}}
{{- if not (dig "store" "endpoint" "" $c) -}}
{{- $p = append $p "config.store.endpoint: say where the object store is, or try bundled.store.enabled" -}}
{{- end -}}
{{- if not (or $v.store.existingSecret (eq (dig "store" "credentials" "keys" $c) "aws") (and (dig "store" "access_key_file" "" $c) (dig "store" "secret_key_file" "" $c))) -}}
{{- $p = append $p "store.existingSecret: name the Secret with the object store's access key and secret key" -}}
{{- end -}}
{{- end -}}

{{- if and $v.bundled.mosquitto.enabled (not $v.hub.enabled) -}}
{{- $p = append $p "hub.enabled: the bundled Mosquitto lets in the devices that hub knows. Leave hub on" -}}
{{- end -}}
{{- if $v.hub.enabled -}}
{{- if and (gt (int $v.hub.replicas) 1) (not $v.hub.database.existingSecret) -}}
{{- $p = append $p "hub.replicas: SQLite is for one hub. Name the Secret with the URL of a PostgreSQL database in hub.database.existingSecret" -}}
{{- end -}}
{{- if and $v.hub.devicesCa.certManager $v.hub.devicesCa.existingSecret -}}
{{- $p = append $p "hub.devicesCa: choose one: certManager, or a Secret of your own in existingSecret" -}}
{{- end -}}
{{- if and $v.bundled.mosquitto.enabled (include "headrace.devicesCa" .) (not (or $v.bundled.mosquitto.tls.existingSecret $v.bundled.mosquitto.tls.certManager)) -}}
{{- $p = append $p "hub.devicesCa: the bundled Mosquitto needs a certificate of its own to take those of devices. Set bundled.mosquitto.tls.certManager, or name a Secret in bundled.mosquitto.tls.existingSecret" -}}
{{- end -}}
{{- if and $v.hub.ingress.enabled (not (and $v.hub.ingress.host $v.hub.ingress.tlsSecret)) -}}
{{- $p = append $p "hub.ingress: give host and tlsSecret: tokens and passwords go over it" -}}
{{- end -}}
{{- end -}}

{{- if and (include "headrace.ingest" .) $v.ingest.ingress.enabled (not (and $v.ingest.ingress.host $v.ingest.ingress.tlsSecret)) -}}
{{- $p = append $p "ingest.ingress: give host and tlsSecret: passwords go over it" -}}
{{- end -}}

{{- $token := dig "kafka" "sasl" "token" (dict) $c -}}
{{- if and (eq (dig "kind" "" $token) "azure") (not (or $v.kafka.existingSecret $token.client_secret_file $token.client_assertion_file)) -}}
{{- $workload = append $workload "config.kafka.sasl.token" -}}
{{- end -}}
{{- $asked := has "config.store.azure" $workload | ternary $processors (without $processors "compact") -}}
{{- range $component := concat (list "bridge") $asked (list "provision") (include "headrace.ingest" . | empty | ternary list (list "ingest")) ((and $v.hub.enabled (has "config.kafka.sasl.token" $workload)) | ternary (list "hub") list) -}}
{{- if and $workload (ne (get (include "headrace.podLabels" (dict "root" $ "of" (get $v $component)) | fromYaml) "azure.workload.identity/use") "true") -}}
{{- $p = append $p (printf "%s.podLabels: azure.workload.identity/use: \"true\" is missing: without a key or a secret %s takes the pod's Workload Identity%s%s" $component (join " and " $workload) (has "config.kafka.sasl.token" $workload | ternary ". Or name the Secret with the application's client secret in kafka.existingSecret" "") (has "config.store.azure" $workload | ternary ". Or name the Secret with the storage account's key in store.existingSecret" "")) -}}
{{- end -}}
{{- end -}}

{{- range $part := list "mqtt" "kafka" "registry" "store" -}}
{{- $t := (get $v $part).tls -}}
{{- if ne (empty $t.certKey) (empty $t.keyKey) -}}
{{- $p = append $p (printf "%s.tls: certKey and keyKey go together" $part) -}}
{{- end -}}
{{- if and $t.certKey (not $t.existingSecret) -}}
{{- $p = append $p (printf "%s.tls.existingSecret: name the Secret that holds %s" $part $t.certKey) -}}
{{- end -}}
{{- if $t.certManager -}}
{{- if $t.existingSecret -}}
{{- $p = append $p (printf "%s.tls: existingSecret or certManager, not both" $part) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $part, $own := dict "mqtt" $v.bundled.mosquitto.enabled "kafka" (or $v.bundled.kafka.enabled $v.strimzi.enabled) "registry" $v.bundled.registry.enabled "store" $v.bundled.store.enabled -}}
{{- $tls := (get $v $part).tls -}}
{{- if and $own (or $tls.existingSecret $tls.certManager (dig $part "tls" "enabled" false $c)) -}}
{{- $p = append $p (printf "%s.tls: the chart's own server is there, and says itself whether it is reached with TLS. Leave it out" $part) -}}
{{- end -}}
{{- end -}}
{{- if and (or $v.mqtt.tls.certManager $v.kafka.tls.certManager $v.bundled.mosquitto.tls.certManager) (not $v.certManager.issuerRef.name) -}}
{{- $p = append $p "certManager.issuerRef.name: name the issuer of the certificates" -}}
{{- end -}}
{{- $mt := $v.bundled.mosquitto.tls -}}
{{- if and $mt.certManager $mt.existingSecret -}}
{{- $p = append $p "bundled.mosquitto.tls: existingSecret or certManager, not both" -}}
{{- end -}}
{{- if and (ne $v.bundled.mosquitto.service.type "ClusterIP") (not (or $mt.certManager $mt.existingSecret)) -}}
{{- $p = append $p "bundled.mosquitto.tls.existingSecret: a broker that leaves the cluster needs TLS, or passwords would cross the network in plain" -}}
{{- end -}}

{{- $shared := dig "bridge" "shared_group" "" $c -}}
{{- if and (gt (int $v.bridge.replicas) 1) (not $shared) -}}
{{- $p = append $p "config.bridge.shared_group: name the group in which the bridges share the messages. A device that knows the name can join it, and what it is dealt is lost: choose one that nobody can guess, such as what `openssl rand -hex 12` prints" -}}
{{- end -}}
{{- if and (dig "bridge" "leave" false $c) (not $shared) -}}
{{- $p = append $p "config.bridge.leave: nobody would take what is published until the next start. It is for several bridges (bridge.replicas)" -}}
{{- end -}}
{{- if dig "bridge" "client_id" "" $c -}}
{{- if gt (int $v.bridge.replicas) 1 -}}
{{- $p = append $p "config.bridge.client_id: several bridges need one each, and have their pods' names. Leave it out; another prefix goes into bridge.clientIdPrefix" -}}
{{- end -}}
{{- end -}}
{{- if and $v.bridge.drain (not $shared) -}}
{{- $p = append $p "bridge.drain: keep the group's name in config.bridge.shared_group, also for a single bridge: those that went were members of it" -}}
{{- end -}}
{{- range $v.bridge.drain -}}
{{- if lt (int .) (int $v.bridge.replicas) -}}
{{- $p = append $p (printf "bridge.drain: %d: that bridge runs, since bridge.replicas is %d. Only one that was scaled away may be drained" (int .) (int $v.bridge.replicas)) -}}
{{- end -}}
{{- end -}}

{{- range $pods := list "bridge" "clean" "derive" "archive" "compact" "provision" -}}
{{- range (get $v $pods).extraEnv -}}
{{- if and (regexMatch "(?i)(password|secret|access_key|token)$" .name) (hasKey . "value") -}}
{{- $p = append $p (printf "%s.extraEnv: %s: a secret in plain. Name a Secret: valueFrom.secretKeyRef, or existingSecret of its connection" $pods .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $service := prepend $processors "bridge" -}}
{{- $of := get $v $service -}}
{{- $least := include "headrace.leastGrace" (dict "root" $ "service" $service) | int -}}
{{- if and (not (kindIs "invalid" $of.terminationGracePeriodSeconds)) (lt (int $of.terminationGracePeriodSeconds) $least) -}}
{{- $p = append $p (printf "%s.terminationGracePeriodSeconds: %d is less than the %d that finishing may take" $service (int $of.terminationGracePeriodSeconds) $least) -}}
{{- end -}}
{{- if eq (include "headrace.port" (dict "root" $ "service" $service)) "0" -}}
{{- $p = append $p (printf "config.%s.http.port: 0 takes a free port, which no probe would find" $service) -}}
{{- end -}}
{{- end -}}

{{- range $service := without $processors "compact" -}}
{{- $a := (get $v $service).autoscaling -}}
{{- $most := include "headrace.partitions" (dict "root" $ "service" $service) | int -}}
{{- if ne $a.kind "none" -}}
{{- if and $most (gt (int $a.minReplicas) $most) -}}
{{- $p = append $p (printf "%s.autoscaling.minReplicas: %d pods, but only %d partitions to share out" $service (int $a.minReplicas) $most) -}}
{{- end -}}
{{- if lt (int $a.maxReplicas) (int $a.minReplicas) -}}
{{- $p = append $p (printf "%s.autoscaling: maxReplicas is less than minReplicas" $service) -}}
{{- end -}}
{{- end -}}
{{- if eq $a.kind "keda" -}}
{{- if and (eq $service "archive") (not $a.prometheus) -}}
{{- $p = append $p "archive.autoscaling.prometheus: give the URL of the Prometheus that scrapes the archive: its committed offsets tell nothing of what is unread" -}}
{{- end -}}
{{- if and (ne $service "archive") (eq (dig "kafka" "sasl" "mechanism" "" $c) "OAUTHBEARER") (not $a.prometheus) -}}
{{- $p = append $p (printf "%s.autoscaling.prometheus: give the URL of the Prometheus that scrapes %s: KEDA can't ask Kafka for its lag with config.kafka.sasl.token" $service $service) -}}
{{- end -}}
{{- if and (ne $service "archive") $v.bundled.kafka.enabled (not $a.prometheus) -}}
{{- $p = append $p (printf "%s.autoscaling.prometheus: give the URL of the Prometheus that scrapes %s: KEDA can't reach the bundled Kafka, which is known in its own namespace only" $service $service) -}}
{{- end -}}
{{- if not ($.Capabilities.APIVersions.Has "keda.sh/v1alpha1") -}}
{{- $p = append $p (printf "%s.autoscaling.kind: keda: the cluster has no KEDA (keda.sh/v1alpha1). Install it; with helm template add --api-versions keda.sh/v1alpha1" $service) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and $v.strimzi.enabled (gt (len (include "headrace.fullname" .)) 27) -}}
{{- $p = append $p (printf "fullnameOverride: Strimzi names its pods %s-%s-pool-0, and a name ends at 63 characters: give one of 27 at most" (include "headrace.fullname" .) (include "headrace.fullname" .)) -}}
{{- end -}}
{{- if and $v.strimzi.enabled (not (or ($.Capabilities.APIVersions.Has "kafka.strimzi.io/v1") ($.Capabilities.APIVersions.Has "kafka.strimzi.io/v1beta2"))) -}}
{{- $p = append $p "strimzi.enabled: the cluster has no Strimzi operator (kafka.strimzi.io/v1). Install it; with helm template add --api-versions kafka.strimzi.io/v1" -}}
{{- end -}}
{{- if and (or (ne $v.monitoring.kind "none") $v.monitoring.rules) (not ($.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
{{- $p = append $p "monitoring: the cluster has no Prometheus Operator (monitoring.coreos.com/v1). Install it; with helm template add --api-versions monitoring.coreos.com/v1" -}}
{{- end -}}
{{- if and (or $v.mqtt.tls.certManager $v.kafka.tls.certManager $mt.certManager) (not ($.Capabilities.APIVersions.Has "cert-manager.io/v1")) -}}
{{- $p = append $p "tls.certManager: the cluster has no cert-manager (cert-manager.io/v1). Install it; with helm template add --api-versions cert-manager.io/v1" -}}
{{- end -}}

{{- if $p -}}
{{- fail (printf "these values do not hold:\n  - %s\n" (join "\n  - " $p)) -}}
{{- end -}}
{{- end -}}
