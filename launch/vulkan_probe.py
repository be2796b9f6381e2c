"""The child process of `vulkan_driver.probe`: tries the renderer, and prints one JSON object.

A driver may abort the process or hang in it, so nothing else should run here.
"""

from __future__ import annotations

import ctypes
import json


def main() -> None:
    problem = ""
    try:
        _try_renderer()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    print(json.dumps({"devices": devices(), "problem": problem}))


def _try_renderer() -> None:
    """Makes what every scene of the simulator's workers makes: a render system and a material."""
    import sapien

    sapien.render.RenderSystem(sapien.Device("cpu"))
    sapien.render.RenderMaterial()


class _ApplicationInfo(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("version", ctypes.c_uint32),
        ("engine", ctypes.c_char_p),
        ("engine_version", ctypes.c_uint32),
        ("api_version", ctypes.c_uint32),
    )


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.POINTER(_ApplicationInfo)),
        ("nothing_else", ctypes.c_uint64 * 4),
    )


class _DriverProperties(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("driver", ctypes.c_uint32),
        ("name", ctypes.c_char * 256),
        ("info", ctypes.c_char * 256),
        ("conformance", ctypes.c_uint8 * 4),
    )


class _DeviceProperties(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("numbers", ctypes.c_uint32 * 5),
        ("name", ctypes.c_char * 256),
        ("rest", ctypes.c_uint8 * 4096),  # identifiers and limits, less than 1 kB of them
    )


def devices() -> list[dict[str, str]]:
    """Name and driver ("llvmpipe Mesa 25.0.7 ...") of each Vulkan 1.2 device; none where Vulkan fails."""
    try:
        vulkan = ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return []
    application = _ApplicationInfo(kind=0, api_version=1 << 22 | 2 << 12)
    info = _InstanceCreateInfo(kind=1, application=ctypes.pointer(application))
    instance = ctypes.c_void_p()
    if vulkan.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance)) != 0:
        return []
    try:
        count = ctypes.c_uint32()
        vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
        handles = (ctypes.c_void_p * count.value)()
        vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
        return [device for handle in handles if handle and (device := _describe(vulkan, handle))]
    finally:
        vulkan.vkDestroyInstance(instance, None)


def _describe(vulkan: ctypes.CDLL, handle: int) -> dict[str, str] | None:
    driver = _DriverProperties(kind=1000196000)
    device = _DeviceProperties(kind=1000059001)
    numbers = ctypes.cast(ctypes.byref(device, _DeviceProperties.numbers.offset), ctypes.c_void_p)
    vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), numbers)
    if device.numbers[0] < 1 << 22 | 2 << 12:  # the query below came with Vulkan 1.2
        return None
    device.next = ctypes.addressof(driver)
    vulkan.vkGetPhysicalDeviceProperties2(ctypes.c_void_p(handle), ctypes.byref(device))
    driver_text = f"{driver.name.decode(errors='replace')} {driver.info.decode(errors='replace')}"
    return {"name": device.name.decode(errors="replace"), "driver": driver_text}


if __name__ == "__main__":
    main()
