#!/bin/bash
# What the distribution's script does with these variables, for the classes that are here.
base=/opt/kafka
log=${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=$base/config/tools-log4j2.yaml}
exec "$JAVA_HOME/bin/java" ${KAFKA_HEAP_OPTS:--Xmx256M} ${KAFKA_JVM_PERFORMANCE_OPTS:--server -XX:+UseG1GC} \
    "-Dkafka.logs.dir=${LOG_DIR:-$base/logs}" $log -cp "$base/libs/*" ${KAFKA_OPTS-} "$@"
