"""The book's entries about driver, GPUs and the libraries on them. Data only.

What it is not: the looking (scripts/doctor/checks).
"""

from __future__ import annotations

from scripts.doctor.entry import Entry, Level

_BAD, _ODD = Level.PROBLEM, Level.WARNING

GPU = (
    Entry(
        "driver-missing",
        "driver",
        _BAD,
        "`Found no NVIDIA driver`, and everything runs on the CPU",
        "The machine has an NVIDIA card and this process finds no libcuda.so.1: the driver is not"
        " installed, or the container was not given its GPU.",
        "bare metal: install the NVIDIA driver (Debian: apt-get install nvidia-driver) and reboot;"
        " container: install nvidia-container-toolkit and start with --gpus all",
    ),
    Entry(
        "driver-error",
        "driver",
        _BAD,
        "`CUDA unknown error`, `CUDA-capable device(s) is/are busy or unavailable`",
        "The CUDA driver is there and does not start.",
        "{remedy}",
        "nvidia-smi; dmesg | grep -i nvrm; reboot the host",
    ),
    Entry(
        "nvml-mismatch",
        "driver",
        _BAD,
        "`Failed to initialize NVML: Driver/library version mismatch`",
        "The driver's libraries were upgraded and the kernel still has the old module (in a"
        " container: the host was upgraded).",
        "reboot the host (or: rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia; modprobe nvidia),"
        " then start the containers anew",
    ),
    Entry(
        "nvml-error",
        "driver",
        _ODD,
        "nvidia-smi fails; no GPU figures in the metrics",
        "NVML does not start, while CUDA may work.",
        "nvidia-smi; in a container NVIDIA_DRIVER_CAPABILITIES=compute,utility,video",
    ),
    Entry(
        "gpu-memory-taken",
        "driver",
        _ODD,
        "CUDA out of memory at the start or in mid-job",
        "Other processes hold most of a GPU's memory.",
        "nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv; end them, or choose"
        " another GPU with DEVICE_SLOTS",
    ),
    Entry(
        "compute-prohibited",
        "driver",
        _BAD,
        "`all CUDA-capable devices are busy or unavailable` on an idle GPU",
        "The GPU's compute mode lets no process use it.",
        "nvidia-smi -i {gpu} -c DEFAULT",
    ),
    Entry(
        "gpu-required",
        "slots",
        _BAD,
        "`REQUIRE_GPU=1, but no GPU can be used`, exit code 3",
        "The settings ask for a GPU and the driver shows none to this process.",
        "nvidia-smi; in a container --gpus all; or unset {setting} to run on the CPU",
    ),
    Entry(
        "gpus-hidden",
        "slots",
        _ODD,
        "Everything runs on the CPU though nvidia-smi shows a GPU",
        "CUDA_VISIBLE_DEVICES (or DEVICE=cpu) hides the GPUs from the server.",
        "unset CUDA_VISIBLE_DEVICES, and leave DEVICE at auto; DEVICE_SLOTS chooses GPUs",
    ),
    Entry(
        "gpus-idle",
        "slots",
        _ODD,
        "One GPU works and the others idle",
        "There are more GPUs than workers, and a worker uses one.",
        "GPU_CONFIG=multi_gpu, or name the ones that are meant: DEVICE_SLOTS=0",
    ),
    Entry(
        "slot-unknown",
        "slots",
        _BAD,
        "A worker runs on the CPU, or `invalid device ordinal`",
        "DEVICE_SLOTS or CUDA_VISIBLE_DEVICES names a GPU that is not there.",
        "nvidia-smi -L lists the GPUs; set DEVICE_SLOTS to some of them",
    ),
    Entry(
        "lease-held",
        "slots",
        _BAD,
        "`waiting for the lease on gpu-0`, then `is held by process`",
        "A process holds the lock of this device and no server answers: a worker that hangs, or"
        " another server with the same DATA_DIR on another port.",
        "ps -fp {pid}; if it is a leftover: kill {pid}, and after ten seconds kill -9 {pid}",
    ),
    Entry(
        "torch-cpu-build",
        "kernel",
        _BAD,
        "`Torch not compiled with CUDA enabled`",
        "There is a GPU, and the torch that is installed was built for CPUs only.",
        "{python} -m pip install --force-reinstall -r requirements.txt, from an index that has"
        " torch for CUDA",
    ),
    Entry(
        "driver-old",
        "kernel",
        _BAD,
        "`The NVIDIA driver on your system is too old`",
        "torch was built for a newer CUDA than this driver knows.",
        "install a driver that knows CUDA {cuda}, or a torch that was built for an older CUDA",
    ),
    Entry(
        "arch-unsupported",
        "kernel",
        _BAD,
        "`no kernel image is available for execution on the device`",
        "This torch has no kernels for this GPU's compute capability.",
        "install a torch that was built for {arch} (newer for a new card, older for an old one)",
    ),
    Entry(
        "cudnn-mismatch",
        "kernel",
        _BAD,
        "`cuDNN version incompatibility`, `CUDNN_STATUS_…`",
        "torch loaded another cuDNN than it was built for, usually through LD_LIBRARY_PATH.",
        "unset LD_LIBRARY_PATH (or take CUDA's folders out of it), then {python} -m pip install"
        " --force-reinstall -r requirements.txt",
    ),
    Entry(
        "cuda-libraries-mixed",
        "kernel",
        _ODD,
        "Crashes or wrong results that come and go with the environment",
        "CUDA libraries of two installations are in one process.",
        "unset LD_LIBRARY_PATH, or take CUDA's folders out of it",
    ),
    Entry(
        "kernel-failed",
        "kernel",
        _BAD,
        "`/health` says `cpu` and why; CUDA errors at the start",
        "A small matrix product did not run on the GPU, or gave wrong numbers.",
        "nvidia-smi -q -d ECC,PAGE_RETIREMENT; dmesg | grep -i xid; then driver and torch",
    ),
    Entry(
        "onnx-cpu-build",
        "providers",
        _BAD,
        "Faces are found slowly while the GPU idles",
        "There is a GPU, and the ONNX Runtime that is installed was built for CPUs only.",
        "{python} -m pip uninstall -y onnxruntime && {python} -m pip install --force-reinstall"
        " onnxruntime-gpu",
    ),
    Entry(
        "onnx-cuda-failed",
        "providers",
        _BAD,
        "`Failed to create CUDAExecutionProvider`; /gpu/status has no CUDA in `onnx_providers`",
        "ONNX Runtime has the CUDA provider and a real session fell back to the CPU: its CUDA or"
        " cuDNN libraries cannot be loaded.",
        "{python} -m pip install --force-reinstall -r requirements.txt; unset LD_LIBRARY_PATH",
    ),
    Entry(
        "onnx-broken",
        "providers",
        _BAD,
        "No model loads; errors of ONNX Runtime at the start",
        "A session on the embedded speech model could not be opened or gave no numbers.",
        "{python} -m pip install --force-reinstall onnxruntime-gpu; git checkout models/assets",
    ),
    Entry(
        "encoder-broken",
        "encoder",
        _BAD,
        "Every job fails when its first segment is written",
        "PyAV cannot encode H.264 or AAC: a build of PyAV or FFmpeg without libx264.",
        "{python} -m pip install --force-reinstall --no-deps av --only-binary av",
    ),
)
