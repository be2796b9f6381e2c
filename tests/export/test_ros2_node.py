"""The ROS 2 example against a stand-in of rclpy: what it takes in, what it publishes, and what the guards do."""

import importlib.util
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import ros_stand_in

from rpd_jax.envs.tabletop import hand

EXAMPLE = Path(__file__).parents[2] / "examples" / "ros2_node.py"
HINGES = np.array([0.1, -0.2, 0.3])
TCP = np.concatenate([[0.05, -0.02, 0.2], np.asarray(hand.orientation(jnp.asarray(HINGES)))])
CUBE, GOAL = np.array([0.02, 0.03, 0.02, 1.0, 0.0, 0.0, 0.0]), np.array([0.0, 0.1, 0.2])


@pytest.fixture
def make(exports, monkeypatch):
    def node(**parameters):
        ros_stand_in.install(monkeypatch, **parameters)
        monkeypatch.setattr(sys, "path", list(sys.path))
        for name in ("runner", "safe_student"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        spec = importlib.util.spec_from_file_location("ros2_node", EXAMPLE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.StudentNode(str(exports["ee"][1]))

    return node


def send(node, topic, value, *, age=0.0, frame="table"):
    """A message on a topic, measured so many seconds ago."""
    kind, callback = node.subscriptions[topic]
    message = kind()
    stamp = node.now - age
    message.header.frame_id, message.header.stamp.sec = frame, int(stamp)
    message.header.stamp.nanosec = round(stamp % 1 * 1e9)
    if kind is ros_stand_in.JointState:
        message.position = [value / 2, value / 2]
    elif kind is ros_stand_in.PointStamped:
        message.point.x, message.point.y, message.point.z = value
    else:
        at, turned = message.pose.position, message.pose.orientation
        at.x, at.y, at.z, turned.w, turned.x, turned.y, turned.z = value
    callback(message)


def send_all(node, **overridden):
    for topic, value in {"tcp_pose": TCP, "gripper": 0.05, "objects/obj_pose": CUBE, "goals/goal_pos": GOAL}.items():
        send(node, topic, overridden.get(topic.split("/")[-1], value))


def targets(node):
    """The last target published: position [3], quaternion [4]."""
    pose = node.published["target_pose"][-1].pose
    turned = pose.orientation
    at = np.array([pose.position.x, pose.position.y, pose.position.z])
    return at, np.array([turned.w, turned.x, turned.y, turned.z])


def status(node):
    return node.published["status"][-1].data


def test_targets_are_where_tabletops_hand_would_be_sent(make, exports):
    student, _ = exports["ee"]
    node = make(world_frame="table", max_speed=99.0, max_turn=99.0)
    assert node.subscriptions.keys() == {"tcp_pose", "gripper", "objects/obj_pose", "goals/goal_pos"}
    ((period, tick),) = node.timers
    assert period == pytest.approx(0.05)
    send_all(node)
    tick()
    assert status(node) == ""
    seen = node._student._seen["ee"][0]
    action = np.asarray(student.act({"ee": seen}))
    np.testing.assert_allclose(seen[:3], TCP[:3], atol=1e-6)
    assert seen[9] == pytest.approx(0.05)
    assert np.linalg.norm(action[3:6]) < 1.0  # beyond, the simulated hand alone would limit the turn
    joints = hand.targets(jnp.concatenate([TCP[:3], HINGES, jnp.full(2, 0.025)]), jnp.asarray(action), 0.0)
    wanted = np.asarray(hand.tcp_pose(joints))
    position, quaternion = targets(node)
    np.testing.assert_allclose(position, wanted[:3], atol=1e-5)
    np.testing.assert_allclose(abs(quaternion @ wanted[3:]), 1.0, atol=1e-5)
    assert np.abs(position - TCP[:3]).max() > 1e-3
    message = node.published["target_pose"][-1]
    assert message.header.frame_id == "table" and message.header.stamp.sec == 1000
    assert node.published["gripper_target"][-1].data == pytest.approx(0.5 * (action[6] + 1.0), abs=1e-5)


def test_a_base_that_is_turned_turns_the_motion(make):
    moves = []
    for yaw in (0.0, np.pi / 2):
        node = make(world_frame="table", base_yaw=yaw, max_speed=99.0)
        send_all(node)
        node.tick()
        moves.append(targets(node)[0] - TCP[:3])
    (x, y, z), turned = moves
    np.testing.assert_allclose(turned, [-y, x, z], atol=1e-6)


def test_the_hand_does_not_move_faster_than_it_may(make):
    node = make(world_frame="table", max_speed=0.02)
    send_all(node)
    node.tick()
    assert np.linalg.norm(targets(node)[0] - TCP[:3]) == pytest.approx(0.02 * 0.05, abs=1e-6)  # m/s times s


def test_nothing_moves_before_everything_is_known(make):
    node = make(world_frame="table")
    send_all(node)
    node._goals.clear()
    node.tick()
    assert status(node).startswith("no observation yet: ee") and not node.published["target_pose"]


@pytest.mark.parametrize(("topic", "value"), [("objects/obj_pose", CUBE * np.nan), ("tcp_pose", TCP + 1e4)])
def test_faults_leave_the_last_target(make, topic, value):
    node = make(world_frame="table")
    send_all(node)
    node.tick()
    before = targets(node)
    node.now += 0.05
    send(node, topic, value)
    node.tick()
    assert status(node).startswith(("not finite: ee.", "out of range: ee."))
    np.testing.assert_array_equal(np.concatenate(targets(node)), np.concatenate(before))
    node.now += 0.05
    send_all(node)
    node.tick()
    assert status(node) == ""


def test_the_oldest_pose_decides_and_clocks_must_agree(make):
    node = make(world_frame="table")
    send_all(node)
    node.tick()
    node.now += 0.2
    for topic, value in (("tcp_pose", TCP), ("gripper", 0.05)):
        send(node, topic, value)
    node.tick()
    assert status(node) == "too old: ee (0.2 s, at most 0.15 s)"
    for topic, value in (("tcp_pose", TCP), ("gripper", 0.05), ("objects/obj_pose", CUBE)):
        send(node, topic, value, age=-60.0)
    node.tick()
    assert status(node).startswith("stamp of another clock")


def test_poses_in_other_frames_are_left_out(make):
    node = make(world_frame="table")
    send_all(node)
    send(node, "objects/obj_pose", CUBE + 1.0, frame="camera")
    node.tick()
    assert status(node) == "" and node.warnings == ["obj_pose is in frame 'camera', not 'table': left out"]
    np.testing.assert_allclose(node._student._seen["ee"][0][10:13], CUBE[:3], atol=1e-6)


def test_students_that_see_something_else_are_refused(make, exports, monkeypatch):
    monkeypatch.setitem(exports, "ee", exports["rgb+proprio"])
    with pytest.raises(ValueError, match="must see 'ee' alone"):
        make()
