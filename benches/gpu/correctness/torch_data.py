"""A DataLoader whose worker processes are forked after CUDA was used, and whose batches are pinned by a thread."""

from workload import Result, digest, seeded


def main():
    torch = seeded()
    from torch.utils.data import DataLoader, Dataset

    class Squares(Dataset):
        """Samples that a worker computes on its CPU."""

        def __len__(self):
            return 512

        def __getitem__(self, at):
            return torch.full((3, 64, 64), float(at)).square_(), at

    weight = torch.randn(3 * 64 * 64, 8, device="cuda")
    total = torch.zeros(8, device="cuda")
    seen, pinned = 0, True
    loader = DataLoader(
        Squares(),
        batch_size=32,
        num_workers=4,
        pin_memory=True,
        multiprocessing_context="fork",
        persistent_workers=True,
    )
    for _ in range(2):
        for images, indices in loader:
            pinned = pinned and images.is_pinned()
            there = images.to("cuda", non_blocking=True)
            total += (there.flatten(1) @ weight).sum(0)
            seen += int(indices.to("cuda", non_blocking=True).sum())
    result = Result()
    result.exact["total"] = digest(total)
    result.exact["seen"] = seen
    result.holds["pinned"] = pinned
    result.holds["all_seen"] = seen == 2 * sum(range(512))
    result.print()


if __name__ == "__main__":
    main()
