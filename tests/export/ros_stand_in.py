"""As much of rclpy and its messages as `examples/ros2_node.py` uses; topics are dictionaries, time is set by hand."""

import sys
import types
from types import SimpleNamespace


class Node:
    """Remembers what it publishes, newest last."""

    def __init__(self, name):
        self.now, self.published, self.warnings, self.parameters = 1000.0, {}, [], dict(GIVEN)
        self.subscriptions, self.timers = {}, []

    def declare_parameter(self, name, default):
        return SimpleNamespace(value=self.parameters.get(name, default))

    def create_subscription(self, kind, topic, callback, qos):
        self.subscriptions[topic] = (kind, callback)

    def create_publisher(self, kind, topic, qos):
        self.published[topic] = []

        def publish(message):
            assert isinstance(message, kind)
            self.published[topic].append(message)

        return SimpleNamespace(publish=publish)

    def create_timer(self, period, callback):
        self.timers.append((period, callback))

    def get_clock(self):
        stamp = SimpleNamespace(sec=int(self.now), nanosec=round(self.now % 1 * 1e9))
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now * 1e9, to_msg=lambda: stamp))

    def get_logger(self):
        return SimpleNamespace(warning=lambda text, throttle_duration_sec: self.warnings.append(text))


GIVEN: dict = {}  # parameters of the nodes to come


def _header():
    return SimpleNamespace(frame_id="", stamp=SimpleNamespace(sec=0, nanosec=0))


class PoseStamped:
    def __init__(self):
        self.header = _header()
        at, turned = SimpleNamespace(x=0.0, y=0.0, z=0.0), SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
        self.pose = SimpleNamespace(position=at, orientation=turned)


class PointStamped:
    def __init__(self):
        self.header, self.point = _header(), SimpleNamespace(x=0.0, y=0.0, z=0.0)


class JointState:
    def __init__(self):
        self.header, self.position = _header(), []


class Float64:
    def __init__(self, data=0.0):
        assert isinstance(data, float)
        self.data = data


class String:
    def __init__(self, data=""):
        assert isinstance(data, str)
        self.data = data


def install(monkeypatch, **parameters):
    """Puts the modules in place, for nodes with these parameters."""
    monkeypatch.setattr(sys.modules[__name__], "GIVEN", parameters)
    for name, contents in {
        "rclpy": {},
        "rclpy.node": {"Node": Node},
        "geometry_msgs": {},
        "geometry_msgs.msg": {"PoseStamped": PoseStamped, "PointStamped": PointStamped},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"JointState": JointState},
        "std_msgs": {},
        "std_msgs.msg": {"Float64": Float64, "String": String},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
