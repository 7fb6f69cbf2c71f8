#!/bin/sh
# The variables that the script of the same name in the image's base takes, as far as they matter here.
exec java "-XX:MaxRAMPercentage=${JAVA_MAX_MEM_RATIO:-80}" ${JAVA_OPTS:-$JAVA_OPTIONS} ${JAVA_OPTS_APPEND-} \
    -jar /deployments/quarkus-run.jar "$@"
