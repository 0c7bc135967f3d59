"""Graph convolutions and graph attention over dense adjacency matrices."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.parameter import Parameter


class GraphConvolution(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super(GraphConvolution, self).__init__()
        self.weight = Parameter(torch.zeros(in_features, out_features))
        if bias:
            self.bias = Parameter(torch.zeros(out_features))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        stdv = 1.0 / math.sqrt(self.weight.size(1))
        self.weight.data.uniform_(-stdv, stdv)
        if self.bias is not None:
            self.bias.data.uniform_(-stdv, stdv)

    def forward(self, input, adj):
        support = torch.matmul(input, self.weight)
        output = torch.matmul(adj, support)
        if self.bias is not None:
            return output + self.bias
        else:
            return output


class GraphAttentionLayer(nn.Module):
    def __init__(self, in_features, out_features, alpha, concat=True):
        super().__init__()
        self.out_features = out_features
        self.concat = concat
        self.W = nn.Parameter(torch.empty(size=(in_features, out_features)))
        nn.init.xavier_uniform_(self.W.data, gain=1.414)
        self.a = nn.Parameter(torch.empty(size=(2 * out_features, 1)))
        nn.init.xavier_uniform_(self.a.data, gain=1.414)
        self.leakyrelu = nn.LeakyReLU(alpha)

    def forward(self, h, adj):
        Wh = torch.matmul(h, self.W)
        Wh1 = torch.matmul(Wh, self.a[:self.out_features, :])
        Wh2 = torch.matmul(Wh, self.a[self.out_features:, :])
        e = self.leakyrelu(Wh1 + Wh2.transpose(1, 2))
        zero_vec = -9e15 * torch.ones_like(e)
        attention = torch.where(adj > 0, e, zero_vec)
        attention = F.softmax(attention, dim=-1)
        h_prime = torch.matmul(attention, Wh)
        return F.elu(h_prime) if self.concat else h_prime


class GNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.gc1 = GraphConvolution(5, 8)
        self.attentions = [GraphAttentionLayer(8, 4, alpha=0.2, concat=True) for _ in range(2)]
        for i, attention in enumerate(self.attentions):
            self.add_module("attention_{}".format(i), attention)
        self.gc2 = GraphConvolution(8, 3, bias=False)

    def forward(self, x, adj):
        a = adj + torch.eye(adj.size(1))
        deg = a.sum(dim=-1).clamp(min=1)
        norm = deg.pow(-0.5)
        normed = norm.unsqueeze(-1) * a * norm.unsqueeze(-2)
        x = F.relu(self.gc1(x, normed))
        x = torch.cat([att(x, a) for att in self.attentions], dim=-1)
        x = self.gc2(x, normed)
        return F.log_softmax(x, dim=-1)


def make_model():
    return GNN()


def make_batch(random, n):
    upper = random.uniform(0, 1, (n, 6, 6)) < 0.3
    adj = upper | upper.transpose(0, 2, 1)
    adj[:, range(6), range(6)] = False
    return {"x": random.standard_normal((n, 6, 5)), "adj": adj * 1.0, "y": random.integers(0, 3, (n, 6))}


def compute_loss(model, x, adj, y):
    return F.nll_loss(model(x, adj).view(-1, 3), y.view(-1))
