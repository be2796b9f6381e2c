"""A policy server to test against: a fixed linear policy (a toy), served as openpi and vlagents serve theirs.

The wire format is written out here, from the packages' own clients, and shares no code with the adapters. What the
policy does wrong is said in the instruction. A request with a wrist's camera is one of openpi's LIBERO policies. Prints
its port.

python policy_server.py (openpi|vlagents) PORT [SECONDS until a vlagents agent is ready]
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
import traceback

import msgpack
import numpy as np

from teachers.sidecar.linear import LinearModel

HORIZON = 3


def policy(frame: np.ndarray, instruction: str) -> np.ndarray:
    """A chunk of actions [HORIZON, 7]; only the first one is the label."""
    action = LinearModel().label({"rgb": frame[None]}, {"seed": 0})["action"].astype(np.float32)
    chunk = np.concatenate([action, np.full((HORIZON - 1, 7), 9, np.float32)])
    match instruction:
        case "slow":
            time.sleep(0.03)
        case "hang":
            time.sleep(30)
        case "still":
            chunk[0] = 0
        case "too few":
            chunk = chunk[:, :6]
        case "not finite":
            chunk[0, 2] = np.nan
        case "one action":
            chunk = chunk[0]
        case "raise":
            raise RuntimeError("the policy is tired")
        case "two lines":
            raise RuntimeError("the policy\nis \x1b[31mtired")
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
    return chunk


def serve_openpi(port: int) -> None:
    from websockets.sync.server import serve

    def unpack(value):
        if b"__ndarray__" in value:
            return np.ndarray(buffer=value[b"data"], dtype=value[b"dtype"], shape=value[b"shape"])
        return value

    def handler(connection) -> None:
        connection.send(msgpack.packb({"policy": "linear, a toy"}))
        for frame in connection:
            try:
                seen = msgpack.unpackb(frame, object_hook=unpack)
                assert seen["observation/image"].dtype == np.uint8
                chunk = policy(seen["observation/image"], seen["prompt"])
                if "observation/wrist_image" in seen:  # as openpi's LIBERO policies; a step of the chunk for each input
                    assert seen["observation/wrist_image"].dtype == np.uint8
                    assert seen["observation/state"].dtype == np.float64
                    chunk[1] = policy(seen["observation/wrist_image"], "")[0]
                    chunk[2] = seen["observation/state"][:7]
                array = {b"__ndarray__": True, b"data": chunk.tobytes(), b"dtype": "<f4", b"shape": chunk.shape}
                answer = {"actions": array, "server_timing": {"infer_ms": 0.1}}
                if seen["prompt"] == "no actions":
                    del answer["actions"]
                connection.send(msgpack.packb(answer))
            except (Exception, SystemExit):
                connection.send(traceback.format_exc())
                connection.close(code=1011)

    with serve(handler, "127.0.0.1", port, compression=None, max_size=None) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


def serve_vlagents(port: int, ready_s: float = 0.5) -> None:
    import rpyc
    from rpyc.utils.server import ThreadedServer

    born = time.monotonic()

    @rpyc.service
    class Service(rpyc.Service):
        @rpyc.exposed
        def is_initialized(self):
            return time.monotonic() - born > ready_s

        @rpyc.exposed
        def act(self, text):
            seen = json.loads(text)
            image = seen["obs"]["right"]["cameras"]["rgb_side"]
            frame = np.frombuffer(base64.b64decode(image["__numpy__"]), image["dtype"]).reshape(image["shape"])
            chunk = policy(frame, seen["language_instruction"])
            acts = [
                {"right": {"action": encoded(step[:-1]), "gripper": float(step[-1]), "done": False, "info": {}}}
                for step in np.atleast_2d(chunk)
            ]
            return json.dumps({"acts": acts})

    def encoded(array):
        return {"__numpy__": base64.b64encode(array.tobytes()).decode(), "dtype": "<f4", "shape": array.shape}

    server = ThreadedServer(Service(), hostname="127.0.0.1", port=port, protocol_config={"allow_pickle": False})
    serving = threading.Thread(target=server.start)
    serving.start()
    while not server.active:  # it does not listen before
        time.sleep(0.01)
    print(server.port, flush=True)
    serving.join()


if __name__ == "__main__":
    {"openpi": serve_openpi, "vlagents": serve_vlagents}[sys.argv[1]](int(sys.argv[2]), *map(float, sys.argv[3:]))
