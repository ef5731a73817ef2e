import torch
from torch.nn.functional import scaled_dot_product_attention

from motion.training.flops import flop_counter


def test_matrix_products_and_attention_are_counted_forward_and_backward() -> None:
    layer = torch.nn.Linear(8, 16, bias=False)
    with flop_counter() as counter:
        layer(torch.randn(4, 8, requires_grad=True)).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 4 * 8 * 16
    query = torch.randn(2, 3, 5, 8, requires_grad=True)
    with flop_counter() as counter:
        scaled_dot_product_attention(query, query, query)
    assert counter.get_total_flops() == 2 * 2 * (2 * 3) * 5 * 5 * 8


def test_scores_that_the_backward_pass_computes_again_are_no_model_operations() -> None:
    product = 2 * (2 * 3) * 5 * 5 * 8
    for model_only, products in ((False, 2 + 5), (True, 2 + 4)):
        query = torch.randn(2, 3, 5, 8, requires_grad=True)
        with flop_counter(model_only=model_only) as counter:
            scaled_dot_product_attention(query, query, query).sum().backward()
        assert counter.get_total_flops() == products * product


def test_counting_changes_no_bit() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    data = torch.randn(2, 7, 16)

    def gradients() -> list[torch.Tensor]:
        layer.zero_grad()
        layer(data).square().mean().backward()
        return [p.grad.clone() for p in layer.parameters() if p.grad is not None]

    plain = gradients()
    with flop_counter() as counter:
        counted = gradients()
    assert counter.get_total_flops() > 0
    assert all(a.equal(b) for a, b in zip(plain, counted, strict=True))
