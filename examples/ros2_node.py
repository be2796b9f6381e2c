"""A ROS 2 node that moves an arm by an exported student which sees "ee" (README, "On a robot").

  python examples/ros2_node.py DIRECTORY --ros-args -p world_frame:=table -p max_speed:=0.1

In, all in the frame `world_frame`, which must lie where the manifest's axes say:

  tcp_pose          geometry_msgs/PoseStamped   the tool centre point; z along the fingers, which open along y
  gripper           sensor_msgs/JointState      positions of the fingers, metres, which add up to the opening
  objects/NAME      geometry_msgs/PoseStamped   one topic for each object of the student's layout
  goals/NAME        geometry_msgs/PointStamped  one for each goal; stays until another comes

Out, `control_hz` times a second:

  target_pose       geometry_msgs/PoseStamped   for a Cartesian impedance or pose controller; in a fallback the last one
  gripper_target    std_msgs/Float64            0 closed, 1 open
  status            std_msgs/String             why the student is not followed; empty where it is

Parameters: world_frame, max_speed (m/s), max_turn (rad/s), fallback, base_yaw (radians about z from the world's axes
to those of the base, in which actions are). An observation is as old as the oldest of its poses.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import rclpy  # type: ignore[import-not-found]
from geometry_msgs.msg import PointStamped, PoseStamped  # type: ignore[import-not-found]
from rclpy.node import Node  # type: ignore[import-not-found]
from sensor_msgs.msg import JointState  # type: ignore[import-not-found]
from std_msgs.msg import Float64, String  # type: ignore[import-not-found]


class StudentNode(Node):  # type: ignore[misc]
    """Collects poses, asks the student behind its guards, publishes targets."""

    def __init__(self, directory: str) -> None:
        super().__init__("student")
        sys.path.insert(0, directory)  # the runner and its guards are in the export
        import runner  # type: ignore[import-not-found]
        import safe_student  # type: ignore[import-not-found]

        student, self._end_effector = runner.Student(directory), runner.end_effector
        self._contract = student.manifest["action"]["contract"]
        if list(student.manifest["observation"]) != ["ee"] or self._contract is None:
            raise ValueError("the student must see 'ee' alone, and act by deltas of the end effector")
        self._layout = student.manifest["observation"]["ee"]["layout"]
        self._world = self._parameter("world_frame", "world")
        self._base_yaw = self._parameter("base_yaw", 0.0)
        rates = {"translation": self._parameter("max_speed", 0.1), "rotation": self._parameter("max_turn", 0.5)}
        self._clock = lambda: self.get_clock().now().nanoseconds * 1e-9
        fallback = self._parameter("fallback", "hold")
        self._student = safe_student.SafeStudent(student, max_rate=rates, fallback=fallback, clock=self._clock)

        objects = [name.removesuffix("_position") for name in self._layout if name.endswith("_position")]
        goals = [name for name in self._layout if f"{objects[0]}_to_{name}" in self._layout]
        self._poses: dict[str, tuple[np.ndarray, float]] = {}  # name -> value, stamp
        self._goals: dict[str, np.ndarray] = {}
        self._objects, self._goal_names = objects, goals
        self._listen(PoseStamped, "tcp_pose", lambda message: self._take("tcp_pose", message, _pose(message)))
        self._listen(JointState, "gripper", self._take_gripper)
        for name in objects:
            self._listen(PoseStamped, f"objects/{name}", lambda m, name=name: self._take(name, m, _pose(m)))
        for name in goals:
            self._listen(PointStamped, f"goals/{name}", lambda m, name=name: self._take_goal(name, m))
        self._target: tuple[np.ndarray, np.ndarray] | None = None
        self._outputs = {
            topic: self.create_publisher(kind, topic, 1)
            for topic, kind in (("target_pose", PoseStamped), ("gripper_target", Float64), ("status", String))
        }
        self.create_timer(1.0 / student.manifest["control_hz"], self.tick)

    def tick(self) -> None:
        """One control period."""
        needed = ("tcp_pose", "width", *self._objects)
        if all(name in self._poses for name in needed) and len(self._goals) == len(self._goal_names):
            tcp, width, *objects = (self._poses[name][0] for name in needed)
            ee = self._end_effector(
                self._layout, tcp, width, dict(zip(self._objects, objects, strict=True)), self._goals
            )
            self._student.observe({"ee": ee}, min(self._poses[name][1] for name in needed))
        command = self._student.command()
        if command.fallback is None:  # otherwise the old target stays: the pose by now is not known
            self._target = self._moved(self._poses["tcp_pose"][0], command.action)
        if self._target is not None:
            self._outputs["target_pose"].publish(self._pose_message(*self._target))
            closed, opened = self._contract["gripper_closed"], self._contract["gripper_open"]
            share = (float(command.action[6]) - closed) / (opened - closed)
            self._outputs["gripper_target"].publish(Float64(data=share))
        self._outputs["status"].publish(String(data=command.reason or ""))

    def _moved(self, tcp: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position [3] and quaternion (w, x, y, z) that an action asks for, from the pose [7]."""
        contract, axes = self._contract, _about((0.0, 0.0, 1.0), self._base_yaw)
        turn = contract["rotation_sign"] * contract["rotation_scale"] * action[3:6].astype(float)
        if contract["rotation_form"] == "euler_xyz":
            about_x, about_y, about_z = (_about(axis, angle) for axis, angle in zip(np.eye(3), turn, strict=True))
            delta = _times(_times(about_x, about_y), about_z)
        else:
            delta = _about(turn, float(np.linalg.norm(turn)))
        back = axes * np.array([1, -1, -1, -1])
        shift = _times(_times(axes, np.array([0.0, *(contract["translation_scale"] * action[:3])])), back)
        return tcp[:3] + shift[1:], _times(_times(_times(axes, delta), back), tcp[3:])

    def _take(self, name: str, message: Any, value: np.ndarray | float) -> None:
        if message.header.frame_id != self._world:
            problem = f"{name} is in frame {message.header.frame_id!r}, not {self._world!r}: left out"
            self.get_logger().warning(problem, throttle_duration_sec=1.0)
            return
        self._poses[name] = (value, message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec)

    def _take_gripper(self, message: Any) -> None:  # joints have no frame
        stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        self._poses["width"] = (float(sum(message.position)), stamp)

    def _take_goal(self, name: str, message: Any) -> None:
        if message.header.frame_id == self._world:
            self._goals[name] = np.array([message.point.x, message.point.y, message.point.z])

    def _pose_message(self, position: np.ndarray, quaternion: np.ndarray) -> Any:
        message = PoseStamped()
        message.header.frame_id, message.header.stamp = self._world, self.get_clock().now().to_msg()
        at, turned = message.pose.position, message.pose.orientation
        at.x, at.y, at.z = map(float, position)
        turned.w, turned.x, turned.y, turned.z = map(float, quaternion)
        return message

    def _parameter(self, name: str, default: Any) -> Any:
        return self.declare_parameter(name, default).value

    def _listen(self, kind: Any, topic: str, callback: Any) -> None:
        self.create_subscription(kind, topic, callback, 1)


def _pose(message: Any) -> np.ndarray:
    """[7]: ROS has the quaternion's real part last."""
    at, turned = message.pose.position, message.pose.orientation
    return np.array([at.x, at.y, at.z, turned.w, turned.x, turned.y, turned.z])


def _about(axis: Any, angle: float) -> np.ndarray:
    """The quaternion of a turn about an axis of any length."""
    axis = np.asarray(axis, float)
    unit = axis / max(float(np.linalg.norm(axis)), 1e-12)
    return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * unit)])


def _times(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The product of two quaternions."""
    return np.array([p[0] * q[0] - p[1:] @ q[1:], *(p[0] * q[1:] + q[0] * p[1:] + np.cross(p[1:], q[1:]))])


def main() -> None:
    rclpy.init()
    node = StudentNode(sys.argv[1])
    try:
        rclpy.spin(node)
    finally:
        node.destroy_node()
        rclpy.shutdown()


if __name__ == "__main__":
    main()
