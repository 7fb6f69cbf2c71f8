"""What tests publish to a broker with the services' login, as an independent client."""

import asyncio

import aiomqtt

from headrace.config.connect import Mqtt


def publish(mqtt: Mqtt, *messages: tuple[str, bytes]) -> None:
    """Publish (topic, payload) at QoS 1, each acknowledged by the broker before the next."""

    async def main() -> None:
        password = mqtt.password.get_secret_value() if mqtt.password else None
        async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
            for topic, payload in messages:
                await client.publish(topic, payload, qos=1)

    asyncio.run(main())
